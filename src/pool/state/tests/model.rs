//! What the rules ask for, done and held against a plain model of who must be served next.

use super::{
    super::{Grant, Refusal, Ticket},
    Actions, Key, Out, invariants, key,
    world::{Asked, Exchange, World},
};

impl World {
    pub(super) fn lease(&mut self, grant: &Grant<u64>) {
        assert_eq!(
            self.ready.get(&grant.conn).map(|ready| ready.id),
            Some(grant.id),
            "what is granted is open"
        );
        assert!(
            !self.closing.contains(&grant.id) && !self.upgraded.contains(&grant.id),
            "and has not been told to close"
        );
        let of = &self.state.origins[self.state.conns[grant.id.key].origin].key;
        let origin = (0..).find(|&n| *of == key(n));
        self.leases.push(Exchange {
            id: grant.id,
            origin: origin.expect("every key of these tests has a number"),
            ticket: grant.ticket,
        });
    }

    pub(super) fn note_blocked(&mut self) {
        let key = |o: usize| self.state.origins[o].key.clone();
        let blocked = self.state.blocked.iter();
        self.blocked = blocked.map(|&(ticket, o)| (ticket, key(o))).collect();
    }

    /// Whether somebody older, of another origin, could use the socket that `asked` was given.
    fn is_passed_over(&self, asked: &Asked) -> bool {
        let waits = |ticket: Ticket| self.waiting.values().any(|other| other.id.ticket == ticket);
        let mut blocked = self.blocked.iter();
        blocked.any(|(t, key)| *key != asked.key && *t < asked.id.ticket && waits(*t))
    }

    /// Who of the origin's waiters must be served next.
    pub(super) fn oldest(&self, key: &Key) -> Option<u64> {
        let waiting = self.waiting.iter();
        waiting
            .filter(|(_, asked)| asked.key == *key)
            .min_by_key(|(_, asked)| asked.id.ticket)
            .map(|(&answer, _)| answer)
    }

    /// Does what the rules ask for, and holds it against the model.
    pub(super) fn settle(&mut self, out: Out) {
        let Actions {
            grants,
            refusals,
            dials,
            closes,
            aborts,
            checks,
            quiet,
        } = out;
        // Whose dial has failed no longer stands before those who are served after it.
        for (answer, refusal) in refusals {
            let asked = &self.waiting[&answer];
            if refusal == Refusal::DialFailed {
                assert_eq!(
                    self.oldest(&asked.key),
                    Some(answer),
                    "the oldest hears of a failed dial"
                );
            }
            self.waiting.remove(&answer);
        }
        for (answer, grant) in grants {
            let asked = &self.waiting[&answer];
            assert_eq!(
                self.oldest(&asked.key),
                Some(answer),
                "within an origin, first come is first served"
            );
            assert!(
                !(asked.fresh && grant.reused),
                "who wants a fresh connection gets one"
            );
            assert_eq!(grant.ticket, asked.id.ticket, "a request keeps its ticket");
            let mut leases = self.leases.iter();
            assert!(
                leases.any(|lease| lease.id == grant.id) || !self.is_passed_over(asked),
                "between origins, first come is first served"
            );
            self.waiting.remove(&answer);
            self.lease(&grant);
        }
        let total = self.state.limits().total();
        assert!(
            dials.is_empty() || self.state.conns.len() <= total,
            "no dial takes the pool past its cap"
        );
        for dial in dials {
            let origin = &self.state.origins[self.state.keys[&dial.key]];
            assert!(
                origin.open <= self.state.limits().per_origin(),
                "no dial takes an origin past its cap"
            );
            self.dials.push(dial.id);
        }
        for handle in closes.into_iter().chain(aborts) {
            if let Some(ready) = self.ready.get(&handle)
                && !self.closing.contains(&ready.id)
            {
                self.closing.push(ready.id);
            }
        }
        for handle in checks {
            if let Some(ready) = self.ready.get_mut(&handle) {
                ready.check_at = Some(self.now);
            }
        }
        assert_eq!(
            quiet,
            quiet && self.state.is_quiet(),
            "quiet is told only when it is"
        );
        assert_eq!(
            self.state.waiters.len(),
            self.waiting.len(),
            "nobody leaves without an answer"
        );
        invariants::check(&self.state);
    }
}
