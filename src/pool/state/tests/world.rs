//! The shell's part, played by hand: what was granted, is being dialled and is about to close.

use std::collections::BTreeMap;

use super::{
    super::{Checkout, Deadlines, Overdue, Refusal, Ticket, Want},
    Actions, CloseCause, ConnId, Duration, Instant, Key, Limits, Out, Protocol, Rules, Terms,
    WaiterId, key,
};

#[derive(Debug)]
pub(super) struct World {
    pub(super) state: Rules,
    pub(super) now: Instant,
    pub(super) dials: Vec<ConnId>,
    pub(super) leases: Vec<Exchange>,
    /// Every connection that came up and whose socket is not gone, by its number.
    pub(super) ready: BTreeMap<u64, Ready>,
    /// Sockets that were told to close, or that belong to a dial that failed.
    pub(super) closing: Vec<ConnId>,
    pub(super) upgraded: Vec<ConnId>,
    /// Who waits, by what they are answered with.
    pub(super) waiting: BTreeMap<u64, Asked>,
    /// The tickets of the blocked, and their origins, before the event.
    pub(super) blocked: Vec<(Ticket, Key)>,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Ready {
    pub(super) id: ConnId,
    pub(super) check_at: Option<Instant>,
}

/// A connection in use, and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) id: ConnId,
    pub(super) origin: usize,
    pub(super) ticket: Ticket,
}

#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: WaiterId,
    pub(super) key: Key,
    pub(super) fresh: bool,
    deadlines: Deadlines,
    rings_at: Option<Instant>,
}

/// How a request ended up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Granted { reused: bool },
    Waits(u64),
    Refused(Refusal),
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: Rules::new(limits),
            now: Instant::now(),
            dials: Vec::new(),
            leases: Vec::new(),
            ready: BTreeMap::new(),
            closing: Vec::new(),
            upgraded: Vec::new(),
            waiting: BTreeMap::new(),
            blocked: Vec::new(),
            next: 0,
        }
    }

    /// A request, as the shell makes it.
    pub(super) fn ask(
        &mut self,
        origin: usize,
        want: Want,
        pool: Option<Duration>,
        connect: Option<Duration>,
    ) -> Ask {
        self.note_blocked();
        let key = key(origin);
        let mut out = Actions::default();
        let place = match self.state.checkout(&key, want, self.now, &mut out) {
            Err(refusal) => return Ask::Refused(refusal),
            Ok(Checkout::Now(grant)) => {
                assert!(
                    self.oldest(&key).is_none(),
                    "nobody takes a connection before those who wait for it"
                );
                let reused = grant.reused;
                self.lease(&grant);
                self.settle(out);
                return Ask::Granted { reused };
            }
            Ok(Checkout::Later(place)) => place,
        };
        let answer = self.next;
        self.next += 1;
        let deadlines = Deadlines {
            pool: pool.map(|limit| self.now + limit),
            connect,
        };
        let queued = self
            .state
            .enqueue(&key, place, answer, connect, self.now, &mut out);
        let asked = match queued {
            Ok(id) => {
                let connect = connect.map(|limit| self.now + limit);
                let waiter = self.state.waiters.get(id.key);
                let asked = Asked {
                    id,
                    key,
                    fresh: waiter.is_some_and(|waiter| waiter.fresh),
                    deadlines,
                    rings_at: deadlines.pool.into_iter().chain(connect).min(),
                };
                self.waiting.insert(answer, asked);
                Ask::Waits(answer)
            }
            Err(refusal) => Ask::Refused(refusal),
        };
        self.settle(out);
        asked
    }

    /// An exchange whose connection has died under it, and that asks for another.
    pub(super) fn ask_again(&mut self, i: usize, fresh: bool) -> Ask {
        let Exchange { ticket, origin, .. } = self.leases[i];
        self.release(i, Err(CloseCause::Failed));
        let again = Some(ticket);
        self.ask(origin, Want { again, fresh }, None, None)
    }

    /// A request without deadlines that must wait.
    pub(super) fn wait(&mut self, origin: usize) -> u64 {
        match self.ask(origin, Want::default(), None, None) {
            Ask::Waits(answer) => answer,
            other => panic!("it should wait, but {other:?}"),
        }
    }

    pub(super) fn event(&mut self, event: impl FnOnce(&mut Rules, Instant, &mut Out)) {
        self.note_blocked();
        let mut out = Actions::default();
        event(&mut self.state, self.now, &mut out);
        self.settle(out);
    }

    pub(super) fn cancel(&mut self, answer: u64) {
        if let Some(asked) = self.waiting.remove(&answer) {
            self.event(|state, now, out| state.cancel(asked.id, now, out));
        }
    }

    pub(super) fn dialed(&mut self, i: usize, capacity: usize, age: Option<Duration>) {
        let id = self.dials.remove(i);
        let handle = self.next;
        self.next += 1;
        self.ready.insert(handle, Ready { id, check_at: None });
        let ages_at = age.map(|age| self.now + age);
        let terms = Terms {
            multiplexed: capacity != 1,
            capacity,
            ages_at,
        };
        self.event(|state, now, out| state.dialed(id, handle, terms, now, out));
    }

    /// Over HTTP/1.1, a connection carries one exchange whatever is asked.
    pub(super) fn dialed_as_can_be(&mut self, i: usize, capacity: usize, age: Option<Duration>) {
        let o = self.state.conns[self.dials[i].key].origin;
        let may_share = self.state.origins[o].key.protocol() != Protocol::Http1;
        self.dialed(i, if may_share { capacity } else { 1 }, age);
    }

    pub(super) fn dial_failed(&mut self, i: usize) {
        let id = self.dials[i];
        self.free(id);
    }

    pub(super) fn release(&mut self, i: usize, keep: Result<Option<Duration>, CloseCause>) {
        let id = self.leases.remove(i).id;
        self.event(|state, now, out| state.release(id, keep, now, out));
    }

    /// The socket is gone, whatever the connection was doing.
    pub(super) fn free(&mut self, id: ConnId) {
        for ids in [&mut self.dials, &mut self.closing, &mut self.upgraded] {
            ids.retain(|&other| other != id);
        }
        self.ready.retain(|_, ready| ready.id != id);
        self.event(|state, now, out| {
            state.freed(id, CloseCause::Remote, now, out);
        });
    }

    pub(super) fn upgrade(&mut self, i: usize) {
        let id = self.leases.remove(i).id;
        if !self.closing.contains(&id) && self.ready.values().any(|ready| ready.id == id) {
            self.upgraded.push(id);
        }
        self.event(|state, now, out| state.upgraded(id, now, out));
    }

    /// Time passes, and every clock that has rung is looked at.
    pub(super) fn tick(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let handles: Vec<_> = self.ready.keys().copied().collect();
        for handle in handles {
            let ready = &self.ready[&handle];
            if is_over(ready.check_at) {
                let (id, mut next) = (ready.id, None);
                self.event(|state, now, out| next = state.expire(id, now, out));
                assert!(next.is_none_or(|at| at > now), "no clock rings at once");
                if let Some(ready) = self.ready.get_mut(&handle) {
                    ready.check_at = next;
                }
            }
        }
        let conns = self.state.conns.iter().map(|(_, conn)| conn);
        assert!(
            conns
                .filter(|conn| conn.is_idle())
                .all(|conn| conn.expires_at() > now),
            "nothing is idle for longer than it may be"
        );
        let waiting: Vec<_> = self.waiting.keys().copied().collect();
        for answer in waiting {
            // The look at another may have ended it.
            if let Some(asked) = self.waiting.get(&answer)
                && is_over(asked.rings_at)
            {
                self.ring(answer, asked.id, asked.deadlines);
            }
        }
    }

    fn ring(&mut self, answer: u64, id: WaiterId, deadlines: Deadlines) {
        let now = self.now;
        self.note_blocked();
        let mut out = Actions::default();
        match self.state.overdue(id, deadlines, now, &mut out) {
            Overdue::Wait(next) => {
                assert!(next.is_none_or(|at| at > now), "no clock rings at once");
                if let Some(asked) = self.waiting.get_mut(&answer) {
                    asked.rings_at = next;
                }
            }
            Overdue::Refused(refusal) => {
                let limit = match refusal {
                    Refusal::PoolTimeout => deadlines.pool,
                    Refusal::ConnectTimeout => deadlines.connect.map(|_| now),
                    other => panic!("a clock is no reason for {other:?}"),
                };
                assert!(limit.is_some_and(|at| at <= now), "no timeout is early");
                self.waiting.remove(&answer);
            }
        }
        self.settle(out);
    }

    /// Everything that is under way comes to its end, again and again, until nobody waits.
    pub(super) fn serve_all(&mut self) {
        // Upstreams that allow no exchange must think better of it first.
        let ready: Vec<_> = self.ready.values().map(|ready| ready.id).collect();
        for id in ready {
            self.event(|state, now, out| state.set_capacity(id, 1, now, out));
        }
        let turns = 4 * (self.waiting.len() + self.state.conns.len() + 1);
        for _ in 0..turns {
            while !self.dials.is_empty() {
                self.dialed(0, 1, None);
            }
            while !self.leases.is_empty() {
                self.release(0, Ok(None));
            }
            for id in std::mem::take(&mut self.upgraded) {
                self.free(id);
            }
            while let Some(&id) = self.closing.first() {
                self.free(id);
            }
        }
        assert!(self.waiting.is_empty(), "everybody who waits is served");
    }

    /// Nothing is left of it once it is over.
    pub(super) fn end(mut self) {
        self.serve_all();
        self.event(|state, now, out| state.drain(now, out));
        while let Some(&id) = self.closing.first() {
            self.free(id);
        }
        assert!(self.state.is_quiet(), "a drain comes to its end");
        let total = self.state.stats().total;
        assert_eq!(total, crate::stats::Gauges::default(), "nothing is counted");
        let state = &self.state;
        assert!(state.conns.is_empty(), "no slot is left");
        assert!(state.origins.is_empty(), "no origin is left");
        assert!(state.keys.is_empty(), "no key is left");
        assert!(state.reservations.is_empty(), "nothing is reserved");
        assert!(state.blocked.is_empty(), "nobody is blocked");
    }
}
