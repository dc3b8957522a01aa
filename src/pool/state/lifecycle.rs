//! What happens to the pool as a whole: new limits, and its end.

use super::{Actions, CloseCause, Instant, Limits, Refusal, State, Station};

impl<C: Clone, W> State<C, W> {
    /// New limits. Lower ones close what is idle first, cut nothing that is in use, and begin no
    /// dial until the number of sockets has come down to them.
    pub(crate) fn set_limits(&mut self, limits: Limits, now: Instant, out: &mut Actions<C, W>) {
        self.limits = limits;
        let idle: Vec<_> = self.keys_where(|conn| conn.is_idle());
        for k in idle {
            let conn = &mut self.conns[k];
            conn.idle_for = conn.idle_for.min(limits.idle_for());
            self.schedule(k, out);
            if self.is_surplus(k) {
                self.close(k, CloseCause::Surplus, out);
            }
        }
        self.trim_idle(out);
        self.settle_all(now, out);
    }

    /// Takes no new requests from now on, and closes what is idle.
    pub(crate) fn drain(&mut self, now: Instant, out: &mut Actions<C, W>) {
        self.draining = true;
        while let Some(k) = self.idle.front() {
            self.close(k, CloseCause::Drained, out);
        }
        self.settle_all(now, out);
    }

    /// Ends what a drain has left, and says how many exchanges and waiters that were. The dials'
    /// tasks are the shell's to end.
    pub(crate) fn abort_all(&mut self, now: Instant, out: &mut Actions<C, W>) -> usize {
        self.draining = true;
        self.ended = true;
        let waiters: Vec<_> = self.waiters.iter().map(|(w, _)| w).collect();
        let mut aborted = waiters.len();
        for w in waiters {
            let waiter = self.remove_waiter(w);
            out.refusals.push((waiter.answer, Refusal::Draining));
        }
        for k in self.keys_where(|conn| conn.station == Station::Ready) {
            aborted += self.conns[k].in_use;
            self.mark_closing(k, CloseCause::Drained);
        }
        // Those that were told to close before may be stuck in it.
        out.aborts.extend(
            self.conns
                .iter()
                .filter(|(_, conn)| conn.station == Station::Closing)
                .filter_map(|(_, conn)| conn.handle.clone()),
        );
        self.settle_all(now, out);
        aborted
    }

    pub(crate) fn upgraded_count(&self) -> usize {
        self.upgraded
    }

    /// Whether a drain is over: nothing is open but what was upgraded, and nobody waits.
    pub(crate) fn is_quiet(&self) -> bool {
        self.draining && self.conns.len() == self.upgraded && self.waiters.is_empty()
    }

    /// Ends a drain that is over: what would begin now would come after its end.
    pub(crate) fn end_if_quiet(&mut self) -> bool {
        self.ended |= self.is_quiet();
        self.is_quiet()
    }

    fn keys_where(&self, wanted: impl Fn(&super::Conn<C>) -> bool) -> Vec<usize> {
        let wanted = self.conns.iter().filter(|(_, conn)| wanted(conn));
        wanted.map(|(k, _)| k).collect()
    }

    fn settle_all(&mut self, now: Instant, out: &mut Actions<C, W>) {
        let origins: Vec<_> = self.origins.iter().map(|(o, _)| o).collect();
        // All before the first slot is used, which must go to the oldest waiter of all.
        for &o in &origins {
            self.rebalance(o, now, out);
        }
        for o in origins {
            self.settle(o, now, out);
        }
        out.quiet |= self.is_quiet();
    }
}
