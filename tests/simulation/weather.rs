//! What befalls the network and the upstreams, drawn from a seed.

use std::time::Duration;

use turmoil::Sim;

use super::{HOSTS, random::Random};

/// How often something changes.
const EVERY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Well,
    /// Nothing comes through, in either direction.
    Apart,
    /// What is sent comes later.
    Held,
    Crashed,
}

pub(crate) struct Weather {
    random: Random,
    fates: [Fate; HOSTS.len()],
    next: Duration,
}

impl Weather {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            random,
            fates: [Fate::Well; HOSTS.len()],
            next: EVERY,
        }
    }

    /// One host's luck turns, when it is time.
    pub(crate) fn change(&mut self, sim: &mut Sim<'_>, now: Duration) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        let host = self.random.index(HOSTS.len());
        if self.fates[host] != Fate::Well {
            if self.random.percent(80) {
                self.set_right(sim, host);
            }
            return;
        }
        let name = HOSTS[host];
        self.fates[host] = self.random.pick(&[Fate::Apart, Fate::Held, Fate::Crashed]);
        match self.fates[host] {
            Fate::Well => {}
            Fate::Apart => sim.partition("client", name),
            Fate::Held => sim.hold("client", name),
            Fate::Crashed => sim.crash(name),
        }
    }

    /// Sets everything right.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        for host in 0..HOSTS.len() {
            self.set_right(sim, host);
        }
    }

    fn set_right(&mut self, sim: &mut Sim<'_>, host: usize) {
        let name = HOSTS[host];
        match std::mem::replace(&mut self.fates[host], Fate::Well) {
            Fate::Well => {}
            Fate::Apart => sim.repair("client", name),
            Fate::Held => sim.release("client", name),
            Fate::Crashed => sim.bounce(name),
        }
    }
}
