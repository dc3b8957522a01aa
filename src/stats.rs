use std::fmt;

use crate::{error::Phase, origin::Origin};

/// What a handle's pool holds at one instant, and what it has done since it was built.
///
/// A snapshot from [`Upstream::stats`](crate::Upstream::stats), taken under the pool's lock: its
/// figures agree with each other.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Over all origins.
    pub total: Gauges,
    /// Each origin that has a connection or a waiting request, in no order.
    pub origins: Vec<(Origin, Gauges)>,
    /// Connections established.
    pub opened: u64,
    /// Dials that failed.
    pub connect_failed: u64,
    /// The most sockets that were ever open at once.
    pub peak: usize,
    /// Requests that were given a connection that had served before.
    pub reused: u64,
    /// Requests that found no connection free, those that had one opened included.
    pub waited: u64,
    /// Bodies dropped unfinished whose rest was read on, so that the connection was kept.
    pub cut_and_reused: u64,
    /// Bodies dropped unfinished whose rest was not read: their connection was closed, or over HTTP/2
    /// their stream reset.
    pub cut_and_closed: u64,
    /// Exchanges that were not over within the `total` timeout.
    pub timed_out_total: u64,
    closed: [u64; CloseCause::ALL.len()],
    timed_out: [u64; PHASES],
}

/// One instant's connections and requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Sockets, in whatever state: the sum of the next five.
    pub open: usize,
    /// Being established.
    pub connecting: usize,
    /// Established, and used by nobody.
    pub idle: usize,
    /// Serving an exchange, or reading on the rest of one.
    pub in_use: usize,
    /// About to close.
    pub closing: usize,
    /// Handed over by an upgrade.
    pub upgraded: usize,
    /// Requests without a connection yet, those for which one is being opened included: so there may be
    /// more than `max_pending`.
    pub waiting: usize,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCause {
    /// Idle for longer than `idle_timeout`.
    Expired,
    /// Older than `max_connection_age`.
    Aged,
    /// It made room for another origin.
    Evicted,
    /// More were idle or open than the limits allow.
    Surplus,
    /// The handle drained, or was dropped.
    Drained,
    /// The upstream closed it, or asked for it to be closed.
    Remote,
    /// It broke: an I/O or protocol error, or bytes nobody had asked for.
    Failed,
    /// An exchange was left or timed out before its end, and its rest was not worth reading.
    Unfinished,
    /// It had been handed over by an upgrade.
    Upgraded,
}

impl CloseCause {
    /// Every cause, in the order of their declaration.
    pub const ALL: &'static [Self] = &[
        Self::Expired,
        Self::Aged,
        Self::Evicted,
        Self::Surplus,
        Self::Drained,
        Self::Remote,
        Self::Failed,
        Self::Unfinished,
        Self::Upgraded,
    ];

    /// The cause in one lower-case word, as metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Aged => "aged",
            Self::Evicted => "evicted",
            Self::Surplus => "surplus",
            Self::Drained => "drained",
            Self::Remote => "remote",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
            Self::Upgraded => "upgraded",
        }
    }
}

const PHASES: usize = 4;

const fn phase_index(phase: Phase) -> usize {
    match phase {
        Phase::Pool => 0,
        Phase::Connect => 1,
        Phase::Write => 2,
        Phase::Read => 3,
    }
}

impl Stats {
    /// Connections closed for this cause.
    #[must_use]
    pub fn closed(&self, cause: CloseCause) -> u64 {
        self.closed[cause as usize]
    }

    /// Exchanges that timed out in this phase.
    #[must_use]
    pub fn timed_out(&self, phase: Phase) -> u64 {
        self.timed_out[phase_index(phase)]
    }

    pub(crate) fn count_closed(&mut self, cause: CloseCause) {
        self.closed[cause as usize] += 1;
    }

    pub(crate) fn count_timed_out(&mut self, phase: Phase) {
        self.timed_out[phase_index(phase)] += 1;
    }
}

impl std::ops::AddAssign for Gauges {
    fn add_assign(&mut self, other: Self) {
        // Destructured, so that a new gauge cannot be forgotten here.
        let Self {
            open,
            connecting,
            idle,
            in_use,
            closing,
            upgraded,
            waiting,
        } = other;
        self.open += open;
        self.connecting += connecting;
        self.idle += idle;
        self.in_use += in_use;
        self.closing += closing;
        self.upgraded += upgraded;
        self.waiting += waiting;
    }
}

/// One line for people: `open 3 (connecting 0, idle 2, in use 1), waiting 0, ...`.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gauges {
            open,
            connecting,
            idle,
            in_use,
            waiting,
            ..
        } = self.total;
        let (peak, opened, reused) = (self.peak, self.opened, self.reused);
        write!(
            f,
            "open {open} (connecting {connecting}, idle {idle}, in use {in_use}), waiting {waiting}, \
             at most {peak} open at once; opened {opened}, reused {reused}"
        )
    }
}

/// What [`Upstream::drain`](crate::Upstream::drain) ended with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Exchanges and waiting requests that were cut short at the deadline.
    pub aborted: usize,
    /// Connections that had been handed over by an upgrade, and are still open.
    pub upgraded: usize,
}
