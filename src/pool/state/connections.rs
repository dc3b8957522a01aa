//! What connections do: come up, fail, come back, grow old, go.

use super::{Actions, CloseCause, Conn, ConnId, Duration, Instant, Refusal, State, Station};

/// What a new connection can carry, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Whether it carries many exchanges at once (HTTP/2).
    pub(crate) multiplexed: bool,
    /// How many of them the upstream allows.
    pub(crate) capacity: usize,
    /// When it is too old to be used again.
    pub(crate) ages_at: Option<Instant>,
}

impl<C: Clone, W> State<C, W> {
    /// A dial has ended with a connection. It goes to the oldest waiter of its origin.
    pub(crate) fn dialed(
        &mut self,
        id: ConnId,
        handle: C,
        terms: Terms,
        now: Instant,
        out: &mut Actions<C, W>,
    ) {
        let (idle_for, streams) = (self.limits.idle_for(), self.limits.streams());
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        debug_assert_eq!(conn.station, Station::Dialing, "a slot is dialled once");
        conn.station = Station::Ready;
        conn.handle = Some(handle);
        conn.capacity = terms.capacity.min(streams);
        conn.ages_at = terms.ages_at;
        conn.idle_since = now;
        conn.idle_for = idle_for;
        let o = conn.origin;
        self.origins[o].dialing -= 1;
        self.origins[o].multiplexed = Some(terms.multiplexed);
        self.counters.opened += 1;
        self.offer(id.key, now, out);
        self.settle(o, now, out);
    }

    /// A dial has failed. Those hear of it whom no other dial will serve, the oldest first: one, since
    /// the next dial may end better; or, where the dial was to serve many, as many as that.
    pub(super) fn dial_failed(&mut self, id: ConnId, now: Instant, out: &mut Actions<C, W>) {
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        debug_assert_eq!(
            conn.station,
            Station::Dialing,
            "only a dial can fail as one"
        );
        conn.station = Station::Closing;
        let o = conn.origin;
        self.closing += 1;
        self.counters.connect_failed += 1;
        let origin = &mut self.origins[o];
        origin.closing += 1;
        origin.dialing -= 1;
        self.refuse_unserved(o, out);
        self.settle(o, now, out);
    }

    fn refuse_unserved(&mut self, o: usize, out: &mut Actions<C, W>) {
        let per_dial = self.per_dial(o);
        let origin = &self.origins[o];
        let served = (origin.dialing + origin.reserved).saturating_mul(per_dial);
        for _ in 0..origin.waiting().saturating_sub(served).min(per_dial) {
            let Some(w) = self.origins[o].oldest_waiter() else {
                break;
            };
            let waiter = self.remove_waiter(w);
            out.refusals.push((waiter.answer, Refusal::DialFailed));
        }
    }

    /// An exchange is over. `keep` says whether the connection can serve another, and for how
    /// long the upstream said it would keep it.
    pub(crate) fn release(
        &mut self,
        id: ConnId,
        keep: Result<Option<Duration>, CloseCause>,
        now: Instant,
        out: &mut Actions<C, W>,
    ) {
        let idle_for = self.limits.idle_for();
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        conn.in_use -= 1;
        if conn.station != Station::Ready {
            return;
        }
        let o = conn.origin;
        match keep {
            Ok(hint) => {
                conn.idle_since = now;
                conn.idle_for = hint.map_or(idle_for, |hint| hint.min(idle_for));
                self.offer(id.key, now, out);
            }
            Err(cause) => self.abort(id.key, cause, out),
        }
        self.settle(o, now, out);
    }

    /// The connection takes no further exchange; it closes once the last one is over.
    pub(crate) fn retire(&mut self, id: ConnId, now: Instant, out: &mut Actions<C, W>) {
        if let Some(o) = self.ready(id) {
            self.retire_key(id.key, CloseCause::Remote, out);
            self.settle(o, now, out);
        }
    }

    /// The upstream allows so many exchanges at once from now on.
    pub(crate) fn set_capacity(
        &mut self,
        id: ConnId,
        capacity: usize,
        now: Instant,
        out: &mut Actions<C, W>,
    ) {
        if let Some(o) = self.ready(id) {
            self.conns[id.key].capacity = capacity.min(self.limits.streams());
            self.offer(id.key, now, out);
            self.settle(o, now, out);
        }
    }

    /// The connection has left HTTP: it never comes back, but its socket counts until it is gone.
    pub(crate) fn upgraded(&mut self, id: ConnId, now: Instant, out: &mut Actions<C, W>) {
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        if conn.station != Station::Ready {
            return;
        }
        conn.station = Station::Upgraded;
        conn.retired = Some(CloseCause::Upgraded);
        let o = conn.origin;
        self.upgraded += 1;
        self.relist(id.key);
        self.settle(o, now, out);
    }

    /// The socket is gone, and its slot with it. `cause` is why, where the pool did not ask for it.
    /// Returns the connection, unless it had never come up, and why it closed.
    pub(crate) fn freed(
        &mut self,
        id: ConnId,
        cause: CloseCause,
        now: Instant,
        out: &mut Actions<C, W>,
    ) -> Option<(C, CloseCause)> {
        match self.conn_mut(id).map(|conn| conn.station) {
            None => return None,
            // The dial's task ended without a word: it panicked, or its runtime is gone.
            Some(Station::Dialing) => self.dial_failed(id, now, out),
            Some(Station::Ready) => self.mark_closing(id.key, cause),
            Some(Station::Closing | Station::Upgraded) => {}
        }
        let conn = self.conns.remove(id.key);
        let origin = &mut self.origins[conn.origin];
        origin.open -= 1;
        if conn.station == Station::Upgraded {
            self.upgraded -= 1;
            self.counters.count_closed(CloseCause::Upgraded);
        } else {
            origin.closing -= 1;
            self.closing -= 1;
        }
        if conn.has_come_to_nothing() {
            self.refuse_unserved(conn.origin, out);
        }
        self.settle(conn.origin, now, out);
        conn.handle.zip(conn.retired)
    }

    /// The connection's clock has rung: closes it if its idle time or its age is over, else says
    /// when to look again. `None` is not before it is told to, by `Actions::checks`.
    pub(crate) fn expire(
        &mut self,
        id: ConnId,
        now: Instant,
        out: &mut Actions<C, W>,
    ) -> Option<Instant> {
        let conn = self.conn_mut(id)?;
        conn.check_at = conn.next_look(now);
        let at = conn.check_at?;
        if at > now {
            return Some(at);
        }
        let (aged, o) = (conn.is_aged(now), conn.origin);
        let cause = if aged {
            CloseCause::Aged
        } else {
            CloseCause::Expired
        };
        self.close(id.key, cause, out);
        self.settle(o, now, out);
        None
    }

    /// The origin of a connection that is up.
    fn ready(&self, id: ConnId) -> Option<usize> {
        let conn = self.conns.get(id.key)?;
        (conn.serial == id.serial && conn.station == Station::Ready).then_some(conn.origin)
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn<C>> {
        self.conns
            .get_mut(id.key)
            .filter(|conn| conn.serial == id.serial)
    }
}
