//! The rules that every event ends in: who gets a connection, and where the next slot goes.

use super::{
    AVAILABLE, Actions, CloseCause, Conn, ConnId, Dial, Duration, Grant, IDLE, Instant, Key, Links,
    OriginState, Refusal, State, Station, Ticket, Waiter,
};

impl<C: Clone, W> State<C, W> {
    /// How many waiters one dial serves. Where the first connection is to tell the protocol, all
    /// wait for its word.
    pub(super) fn per_dial(&self, o: usize) -> usize {
        match self.origins[o].multiplexed {
            Some(false) => 1,
            Some(true) | None => self.limits.streams(),
        }
    }

    /// Gives a connection that has room to who waits for it, or else makes it idle.
    pub(super) fn offer(&mut self, k: usize, now: Instant, out: &mut Actions<C, W>) {
        let conn = &self.conns[k];
        if let (0, Some(cause)) = (conn.in_use, conn.retired) {
            return self.close(k, cause, out);
        }
        loop {
            let conn = &self.conns[k];
            let (o, unused, served) = (conn.origin, conn.in_use == 0, conn.served);
            let w = self.origins[o].oldest_waiter();
            if unused && let Some(cause) = self.reason_to_close(k, w, now) {
                self.close(k, cause, out);
                return;
            }
            let Some(w) = w.filter(|_| self.conns[k].has_room()) else {
                break;
            };
            if self.waiters[w].fresh && served {
                break;
            }
            let Some(grant) = self.grant(k, self.waiters[w].ticket) else {
                break;
            };
            let waiter = self.remove_waiter(w);
            out.grants.push((waiter.answer, grant));
        }
        self.relist(k);
        self.schedule(k, out);
        self.trim_idle(out);
    }

    /// Sees to it that an idle connection's driver looks in time whether its time is over. Most
    /// often it does so already, since an exchange only moves that time on.
    pub(super) fn schedule(&mut self, k: usize, out: &mut Actions<C, W>) {
        let conn = &mut self.conns[k];
        let at = conn.expires_at();
        if conn.is_idle() && conn.check_at.is_none_or(|check_at| check_at > at) {
            conn.check_at = Some(at);
            out.checks.extend(conn.handle.clone());
        }
    }

    /// Why a connection that nobody uses is better closed than kept or given to `w`, the oldest
    /// waiter of its origin.
    fn reason_to_close(&self, k: usize, w: Option<usize>, now: Instant) -> Option<CloseCause> {
        let conn = &self.conns[k];
        // One that has never served does so once, however short its life may be.
        if conn.served && conn.is_aged(now) {
            return Some(CloseCause::Aged);
        }
        if self.is_surplus(k) {
            return Some(CloseCause::Surplus);
        }
        let waiter = w.map(|w| &self.waiters[w]);
        if waiter.is_some_and(|waiter| waiter.fresh && conn.served) {
            return Some(CloseCause::Evicted);
        }
        // A busy origin must not starve the others: the oldest waiter of all comes first.
        let elsewhere = self.blocked.iter().find(|(_, o)| *o != conn.origin);
        if elsewhere.is_some_and(|(ticket, _)| waiter.is_none_or(|w| *ticket < w.ticket)) {
            return Some(CloseCause::Evicted);
        }
        // HTTP/2 upstreams may come to allow no exchange at all.
        let is_wanted = waiter.is_some() && conn.has_room();
        (self.draining && !is_wanted).then_some(CloseCause::Drained)
    }

    /// Brings an origin's books in order after an event, and then uses what slots there are.
    pub(super) fn settle(&mut self, o: usize, now: Instant, out: &mut Actions<C, W>) {
        self.rebalance(o, now, out);
        while self.serve(o, now, out) {
            self.rebalance(o, now, out);
        }
        self.pump(now, out);
        let origin = &self.origins[o];
        if origin.open == 0 && origin.waiting() == 0 {
            let origin = self.origins.remove(o);
            self.keys.remove(&origin.key);
        }
        out.quiet |= self.is_quiet();
    }

    /// Lets in who stood behind a waiter that wanted a fresh connection and has left. True if there
    /// was somebody.
    fn serve(&mut self, o: usize, now: Instant, out: &mut Actions<C, W>) -> bool {
        let origin = &self.origins[o];
        let (Some(k), Some(w)) = (origin.available.back(), origin.oldest_waiter()) else {
            return false;
        };
        if self.waiters[w].fresh && self.conns[k].served {
            return false;
        }
        self.offer(k, now, out);
        true
    }

    /// Promises to as many waiters as its dials and reserved slots will serve, no more, no fewer.
    pub(super) fn rebalance(&mut self, o: usize, now: Instant, out: &mut Actions<C, W>) {
        let per_dial = self.per_dial(o);
        let under_way = self.origins[o].dialing + self.origins[o].reserved;
        let quota = under_way.saturating_mul(per_dial);
        while self.origins[o].promised.len() < quota {
            let origin = &mut self.origins[o];
            let Some(w) = origin.queued.pop_front(&mut self.waiters) else {
                break;
            };
            origin.promised.push_back(&mut self.waiters, w);
            self.queued -= 1;
            let waiter = &mut self.waiters[w];
            waiter.promised = true;
            waiter.promised_at = now;
        }
        while self.origins[o].promised.len() > quota {
            let origin = &mut self.origins[o];
            let Some(w) = origin.promised.pop_back(&mut self.waiters) else {
                break;
            };
            origin.queued.push_front(&mut self.waiters, w);
            self.queued += 1;
            self.waiters[w].promised = false;
            if self.waiters[w].overdue {
                let waiter = self.remove_waiter(w);
                out.refusals.push((waiter.answer, Refusal::PoolTimeout));
            }
        }
        let needed = self.origins[o].promised.len().div_ceil(per_dial);
        let surplus = under_way.saturating_sub(needed);
        for _ in 0..surplus.min(self.origins[o].reserved) {
            let last = self.reservations.iter().rposition(|&other| other == o);
            last.and_then(|last| self.reservations.remove(last));
            self.origins[o].reserved -= 1;
        }
        self.update_blocked(o);
    }

    fn update_blocked(&mut self, o: usize) {
        let origin = &mut self.origins[o];
        let below_cap = origin.open + origin.reserved < self.limits.per_origin();
        let may_grow = below_cap && origin.shut == 0;
        let blocked = origin
            .queued
            .front()
            .filter(|_| may_grow)
            .map(|w| self.waiters[w].ticket);
        let before = std::mem::replace(&mut origin.blocked, blocked);
        if before != blocked {
            if let Some(ticket) = before {
                self.blocked.remove(&(ticket, o));
            }
            if let Some(ticket) = blocked {
                self.blocked.insert((ticket, o));
            }
        }
    }

    /// Uses free slots, oldest waiter first, and makes room where there are none.
    fn pump(&mut self, now: Instant, out: &mut Actions<C, W>) {
        loop {
            let room = self.conns.len() < self.limits.total();
            if room && let Some(o) = self.reservations.pop_front() {
                self.fulfil(o, now, out);
                continue;
            }
            // The limits may have been lowered since.
            if self.reservations.len() > self.coming()
                && let Some(o) = self.reservations.pop_back()
            {
                self.origins[o].reserved -= 1;
                self.rebalance(o, now, out);
                continue;
            }
            let Some(&(_, o)) = self.blocked.first() else {
                return;
            };
            if room {
                self.dial(o, now, out);
            } else if self.reservations.len() < self.coming() {
                self.reserve(o);
            } else if let Some(k) = self.idle.front() {
                self.close(k, CloseCause::Evicted, out);
                self.reserve(o);
            } else {
                return;
            }
            self.rebalance(o, now, out);
        }
    }

    /// How many slots will be free once every socket that is closing has closed.
    fn coming(&self) -> usize {
        (self.limits.total() + self.closing).saturating_sub(self.conns.len())
    }

    fn reserve(&mut self, o: usize) {
        self.origins[o].reserved += 1;
        self.reservations.push_back(o);
    }

    /// Gives a free slot to the origin it was reserved for.
    fn fulfil(&mut self, o: usize, now: Instant, out: &mut Actions<C, W>) {
        let origin = &mut self.origins[o];
        origin.reserved -= 1;
        // Its cap may have been lowered since.
        if origin.open < self.limits.per_origin() {
            origin.dialed_at = Some(now);
            self.dial(o, now, out);
        }
        self.rebalance(o, now, out);
    }

    fn dial(&mut self, o: usize, now: Instant, out: &mut Actions<C, W>) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let key = self.conns.insert(Conn {
            serial,
            origin: o,
            station: Station::Dialing,
            handle: None,
            in_use: 0,
            capacity: 1,
            served: false,
            retired: None,
            idle_since: now,
            idle_for: Duration::ZERO,
            ages_at: None,
            check_at: None,
            listed: [false; 2],
            shut: false,
            links: [Links::default(); 2],
        });
        self.counters.peak = self.counters.peak.max(self.conns.len());
        let origin = &mut self.origins[o];
        origin.open += 1;
        origin.dialing += 1;
        out.dials.push(Dial {
            id: ConnId { key, serial },
            key: origin.key.clone(),
            timeout: origin.patience,
        });
    }

    /// Uses one place of a connection that has room. Its lists are the caller's to bring up to
    /// date.
    pub(super) fn grant(&mut self, k: usize, ticket: Ticket) -> Option<Grant<C>> {
        let conn = &mut self.conns[k];
        debug_assert!(conn.has_room(), "only a connection with room is granted");
        let handle = conn.handle.clone()?;
        conn.in_use += 1;
        let reused = std::mem::replace(&mut conn.served, true);
        self.counters.reused += u64::from(reused);
        Some(Grant {
            id: ConnId {
                key: k,
                serial: conn.serial,
            },
            ticket,
            conn: handle,
            reused,
        })
    }

    /// Puts the connection into the lists in which it belongs, and takes it out of the others.
    pub(super) fn relist(&mut self, k: usize) {
        let conn = &mut self.conns[k];
        let (o, belongs) = (conn.origin, [conn.has_room(), conn.is_idle()]);
        let was = std::mem::replace(&mut conn.listed, belongs);
        let is_shut = conn.is_shut();
        let was_shut = std::mem::replace(&mut conn.shut, is_shut);
        let origin = &mut self.origins[o];
        origin.shut = origin.shut + usize::from(is_shut) - usize::from(was_shut);
        let available = &mut origin.available;
        match (was[AVAILABLE], belongs[AVAILABLE]) {
            (false, true) => available.push_back(&mut self.conns, k),
            (true, false) => available.remove(&mut self.conns, k),
            _ => {}
        }
        match (was[IDLE], belongs[IDLE]) {
            (false, true) => self.idle.push_back(&mut self.conns, k),
            (true, false) => self.idle.remove(&mut self.conns, k),
            _ => {}
        }
        if was_shut != is_shut {
            // It may have made room for another origin, and its own is not settled then.
            self.update_blocked(o);
        }
    }

    pub(super) fn trim_idle(&mut self, out: &mut Actions<C, W>) {
        while self.idle.len() > self.limits.idle() {
            let Some(k) = self.idle.front() else { return };
            self.close(k, CloseCause::Surplus, out);
        }
    }

    /// There are more connections than the limits allow, and this is one of them.
    pub(super) fn is_surplus(&self, k: usize) -> bool {
        let origin = &self.origins[self.conns[k].origin];
        self.conns.len() - self.closing > self.limits.total()
            || origin.open - origin.closing > self.limits.per_origin()
    }

    /// The connection takes no further exchange; it closes once the last one is over.
    pub(super) fn retire_key(&mut self, k: usize, cause: CloseCause, out: &mut Actions<C, W>) {
        if self.conns[k].is_idle() {
            return self.close(k, cause, out);
        }
        self.conns[k].retired = Some(cause);
        self.relist(k);
    }

    /// Closes an idle connection in good order.
    pub(super) fn close(&mut self, k: usize, cause: CloseCause, out: &mut Actions<C, W>) {
        self.mark_closing(k, cause);
        out.closes.extend(self.conns[k].handle.clone());
    }

    /// Drops a connection whatever it is doing.
    pub(super) fn abort(&mut self, k: usize, cause: CloseCause, out: &mut Actions<C, W>) {
        self.mark_closing(k, cause);
        out.aborts.extend(self.conns[k].handle.clone());
    }

    pub(super) fn mark_closing(&mut self, k: usize, cause: CloseCause) {
        let conn = &mut self.conns[k];
        debug_assert_eq!(conn.station, Station::Ready, "a connection is closed once");
        conn.station = Station::Closing;
        conn.retired = Some(cause);
        self.origins[conn.origin].closing += 1;
        self.closing += 1;
        self.counters.count_closed(cause);
        self.relist(k);
    }

    /// Takes in an origin that is not there yet.
    pub(super) fn add_origin(&mut self, key: &Key) -> usize {
        let key = key.compact();
        let o = self.origins.insert(OriginState::new(key.clone()));
        self.keys.insert(key, o);
        o
    }

    /// Puts a waiter where its ticket belongs: at the back, but for one that comes again.
    pub(super) fn line_up(&mut self, o: usize, w: usize) {
        let ticket = self.waiters[w].ticket;
        let is_younger = |other: &Waiter<W>| other.ticket > ticket;
        let origin = &mut self.origins[o];
        let last = origin.promised.back();
        if last.is_some_and(|last| is_younger(&self.waiters[last])) {
            self.waiters[w].promised = true;
            let promised = &mut origin.promised;
            promised.insert_before(&mut self.waiters, w, is_younger);
        } else {
            let queued = &mut origin.queued;
            queued.insert_before(&mut self.waiters, w, is_younger);
            self.queued += 1;
        }
    }

    /// Takes a waiter out of the queue. Its origin must be settled afterwards.
    pub(super) fn remove_waiter(&mut self, w: usize) -> Waiter<W> {
        let Waiter {
            origin, promised, ..
        } = self.waiters[w];
        let origin = &mut self.origins[origin];
        if promised {
            origin.promised.remove(&mut self.waiters, w);
        } else {
            origin.queued.remove(&mut self.waiters, w);
            self.queued -= 1;
        }
        if origin.waiting() == 0 {
            origin.patience = Some(Duration::ZERO);
            origin.dialed_at = None;
        }
        self.waiters.remove(w)
    }
}
