//! What requests do: ask for a connection, wait for one, and leave.

use super::{
    Actions, Checkout, CloseCause, Deadlines, Duration, Instant, Key, Links, Overdue, Place,
    Refusal, State, Ticket, Waiter, WaiterId, Want,
};

impl<C: Clone, W> State<C, W> {
    /// A connection that can be used at once, if there is one.
    pub(crate) fn checkout(
        &mut self,
        key: &Key,
        want: Want,
        now: Instant,
        out: &mut Actions<C, W>,
    ) -> Result<Checkout<C>, Refusal> {
        if !self.admits(want) {
            return Err(Refusal::Draining);
        }
        let origin = self.find_origin(key);
        let place = Place { origin, want };
        let Some(o) = origin else {
            return Ok(Checkout::Later(place));
        };
        // Whoever waits already comes first.
        if want.fresh || self.origins[o].waiting() > 0 {
            return Ok(Checkout::Later(place));
        }
        // The most recently used one first: the others may then expire, and the set shrinks to
        // what the load needs.
        while let Some(k) = self.origins[o].available.back() {
            let conn = &self.conns[k];
            if conn.is_aged(now) {
                self.retire_key(k, CloseCause::Aged, out);
            } else if conn.is_idle() && conn.expires_at() <= now {
                self.close(k, CloseCause::Expired, out);
            } else {
                let ticket = self.ticket(want);
                let grant = self.grant(k, ticket);
                self.relist(k);
                return Ok(grant.map_or(Checkout::Later(place), Checkout::Now));
            }
        }
        Ok(Checkout::Later(place))
    }

    /// Puts a request into the queue, and sets in motion what it waits for.
    pub(crate) fn enqueue(
        &mut self,
        key: &Key,
        place: Place,
        answer: W,
        connect: Option<Duration>,
        now: Instant,
        out: &mut Actions<C, W>,
    ) -> Result<WaiterId, Refusal> {
        let want = place.want;
        let o = place.origin.unwrap_or_else(|| self.add_origin(key));
        // An HTTP/2 connection says itself when it is about to go.
        let fresh = want.fresh && self.origins[o].multiplexed != Some(true);
        if fresh {
            // They are as old as the one that has just died.
            while let Some(k) = self.origins[o].available.back() {
                self.retire_key(k, CloseCause::Failed, out);
            }
        }
        let ticket = self.ticket(want);
        let w = self.waiters.insert(Waiter {
            ticket,
            origin: o,
            answer,
            promised: false,
            promised_at: now,
            overdue: false,
            fresh,
            links: Links::default(),
        });
        let origin = &mut self.origins[o];
        origin.patience = origin.patience.zip(connect).map(|(a, b)| a.max(b));
        self.line_up(o, w);
        self.settle(o, now, out);
        let id = WaiterId { key: w, ticket };
        // It may have been served at once.
        let is_queued = self.waiter(id).is_some_and(|waiter| !waiter.promised);
        // One that comes again has stood in the queue, or had no need to.
        let is_new = want.again.is_none();
        if is_new && is_queued && self.queued > self.limits.pending() {
            self.remove_waiter(w);
            self.settle(o, now, out);
            return Err(Refusal::QueueFull);
        }
        self.counters.waited += 1;
        Ok(id)
    }

    /// The waiter leaves. One that has its answer already is no longer known, and not missed.
    pub(crate) fn cancel(&mut self, id: WaiterId, now: Instant, out: &mut Actions<C, W>) {
        if let Some(o) = self.waiter(id).map(|waiter| waiter.origin) {
            self.remove_waiter(id.key);
            self.settle(o, now, out);
        }
    }

    /// The waiter's clock has rung. Which of its deadlines counts depends on whether it still
    /// stands in the queue or a dial is under way for it.
    pub(crate) fn overdue(
        &mut self,
        id: WaiterId,
        deadlines: Deadlines,
        now: Instant,
        out: &mut Actions<C, W>,
    ) -> Overdue {
        let Some(waiter) = self.waiter(id) else {
            // Its answer is under way.
            return Overdue::Wait(None);
        };
        let (o, promised, promised_at) = (waiter.origin, waiter.promised, waiter.promised_at);
        let per_dial = self.per_dial(o);
        let origin = &self.origins[o];
        // Dials serve the oldest; the others that something was promised to wait for a slot.
        let dialed_for = origin.dialing.saturating_mul(per_dial);
        let promises = &origin.promised;
        let is_dialed_for =
            promised && promises.is_among_first(dialed_for, &mut self.waiters, id.key);
        let dialed_at = origin.dialed_at.unwrap_or(promised_at);
        let connecting = is_dialed_for.then(|| promised_at.max(dialed_at));
        let (until, refusal) = match connecting {
            Some(since) => (
                deadlines.connect.map(|limit| since + limit),
                Refusal::ConnectTimeout,
            ),
            None => (deadlines.pool, Refusal::PoolTimeout),
        };
        if until.is_some_and(|at| at <= now) {
            self.remove_waiter(id.key);
            self.settle(o, now, out);
            return Overdue::Refused(refusal);
        }
        if connecting.is_some() {
            // Should the dial turn out to be for another, its time in the queue is over.
            self.waiters[id.key].overdue = deadlines.pool.is_some_and(|at| at <= now);
            return Overdue::Wait(until);
        }
        // Should a dial begin meanwhile, its time cannot be over before this.
        let connect = deadlines.connect.map(|limit| now + limit);
        Overdue::Wait(match (until, connect) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    fn find_origin(&mut self, key: &Key) -> Option<usize> {
        let recent = self.origins.get(self.recent);
        if recent.is_some_and(|origin| origin.key == *key) {
            return Some(self.recent);
        }
        // Hashing a key takes longer than a look at one.
        let origin = self.keys.get(key).copied()?;
        self.recent = origin;
        Some(origin)
    }

    /// Whether the request is still served: a drain finishes what came before it.
    fn admits(&self, want: Want) -> bool {
        !self.draining || (want.again.is_some() && !self.ended)
    }

    fn ticket(&mut self, want: Want) -> Ticket {
        want.again.unwrap_or_else(|| {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            ticket
        })
    }

    fn waiter(&self, id: WaiterId) -> Option<&Waiter<W>> {
        self.waiters
            .get(id.key)
            .filter(|waiter| waiter.ticket == id.ticket)
    }
}
