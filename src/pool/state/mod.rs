//! The pool's rules, without locks, clocks or I/O.
//!
//! Every method of [`State`] is one event: it changes the state, takes the time as an argument, and
//! leaves in [`Actions`] what the shell must do once the lock is free. The terms:
//!
//! * a *slot* is one socket, from the decision to dial until its I/O object is gone: each is an
//!   entry of `conns`, and their number never exceeds the limit;
//! * a waiter is *promised* when something is under way for it: a dial of its origin, or a slot
//!   that is *reserved* for it, that is, a socket that closes to make room. The others are *queued*;
//! * an origin is *blocked* when its oldest queued waiter could use a slot if there were one.
//!
//! Waiters hold a ticket, and tickets decide: within an origin, and between origins that wait for
//! the total cap. Nothing is tied to one waiter: a dial's connection goes to the oldest waiter of
//! its origin, so a waiter that leaves takes nothing with it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use slab::Slab;
use tokio::time::Instant;

use super::list::{Links, List, Node};
use crate::{
    config::Limits,
    origin::{Key, Protocol},
    stats::{CloseCause, Gauges, Stats},
};

mod actions;
mod connections;
mod lifecycle;
mod requests;
mod rules;
#[cfg(test)]
mod tests;

pub(crate) use self::{actions::Actions, connections::Terms};

/// In a connection's links: its origin's connections with room for one more exchange.
const AVAILABLE: usize = 0;
/// In a connection's links: the pool's idle connections, least recently used first.
const IDLE: usize = 1;

/// A connection in use is not looked at more often than this, however short its idle timeout.
const LEAST_LOOK: Duration = Duration::from_secs(1);

/// A request's place in the order in which requests came. It keeps it for as long as it lives,
/// through as many connections as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// One slot. Keys are used again, serials never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnId {
    key: usize,
    serial: u64,
}

/// One waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId {
    key: usize,
    ticket: Ticket,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Want {
    /// The ticket of its first try, if the connection of that came to nothing.
    pub(crate) again: Option<Ticket>,
    /// A connection that has never served.
    pub(crate) fresh: bool,
}

/// A connection to use for one exchange.
#[derive(Debug)]
pub(crate) struct Grant<C> {
    pub(crate) id: ConnId,
    pub(crate) ticket: Ticket,
    pub(crate) conn: C,
    /// It has served before, so the upstream may be about to close it.
    pub(crate) reused: bool,
}

/// What a request that asks for a connection gets.
#[derive(Debug)]
pub(crate) enum Checkout<C> {
    Now(Grant<C>),
    /// It is to be [enqueued](State::enqueue), under the same lock.
    Later(Place),
}

/// Where a request stands that is to be enqueued.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// `None` where the pool knows nothing of it yet.
    origin: Option<usize>,
    want: Want,
}

/// A connection to open.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) id: ConnId,
    pub(crate) key: Key,
    /// The longest connect timeout among those who wait for it.
    pub(crate) timeout: Option<Duration>,
}

/// Why a request gets no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `max_pending` requests are waiting already.
    QueueFull,
    /// The pool takes no new requests, or has no more time for the old ones.
    Draining,
    /// Its time in the queue is over.
    PoolTimeout,
    /// Its time for connecting is over.
    ConnectTimeout,
    /// The dial it waited for failed.
    DialFailed,
}

/// How long a waiter waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// In the queue.
    pub(crate) pool: Option<Instant>,
    /// From the beginning of the dial that was promised to it.
    pub(crate) connect: Option<Duration>,
}

/// What a waiter whose clock has rung is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Wait on, and ask again then.
    Wait(Option<Instant>),
    /// Give up; it has left the queue.
    Refused(Refusal),
}

/// The stations of a slot's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Station {
    Dialing,
    Ready,
    /// Told to close, or closed by the peer: the socket is about to go.
    Closing,
    /// No longer HTTP: its socket counts, but the pool has no say in it.
    Upgraded,
}

#[derive(Clone, Debug)]
struct Conn<C> {
    serial: u64,
    origin: usize,
    station: Station,
    /// `None` until it is up.
    handle: Option<C>,
    in_use: usize,
    /// How many exchanges it carries at once.
    capacity: usize,
    served: bool,
    /// Why it takes no further exchange: it closes with its last one, or does so already.
    retired: Option<CloseCause>,
    idle_since: Instant,
    idle_for: Duration,
    ages_at: Option<Instant>,
    /// When its driver looks next whether its time is over.
    check_at: Option<Instant>,
    /// Whether it stands in each list.
    listed: [bool; 2],
    /// Whether its origin counts it as one that is shut.
    shut: bool,
    links: [Links; 2],
}

impl<C> Node for Conn<C> {
    fn links(&mut self, list: usize) -> &mut Links {
        &mut self.links[list]
    }
}

impl<C> Conn<C> {
    fn is_idle(&self) -> bool {
        self.station == Station::Ready && self.in_use == 0
    }

    fn has_room(&self) -> bool {
        self.station == Station::Ready && self.retired.is_none() && self.in_use < self.capacity
    }

    /// Up, and the upstream allows no exchange on it: HTTP/2 lets it say so, and change its mind.
    fn is_shut(&self) -> bool {
        self.station == Station::Ready && self.retired.is_none() && self.capacity == 0
    }

    /// Gone without the upstream's ever having allowed an exchange: no better than a dial that
    /// failed, and as often as that it would be dialled again. Where its time was over, it may be.
    fn has_come_to_nothing(&self) -> bool {
        let in_time = !matches!(self.retired, Some(CloseCause::Expired | CloseCause::Aged));
        in_time && self.station == Station::Closing && !self.served && self.capacity == 0
    }

    fn is_aged(&self, now: Instant) -> bool {
        self.ages_at.is_some_and(|at| at <= now)
    }

    /// When its driver should look next whether its time is over. In use it is looked at all the
    /// same, when it would be over had it become idle now: so that the driver of a busy connection
    /// need not be told after every exchange.
    fn next_look(&self, now: Instant) -> Option<Instant> {
        if self.is_idle() {
            return Some(self.expires_at());
        }
        let look = now + self.idle_for.max(LEAST_LOOK);
        let ages_at = self.ages_at.filter(|at| *at > now);
        (self.station == Station::Ready).then(|| ages_at.map_or(look, |at| at.min(look)))
    }

    /// When it is closed if nobody uses it until then.
    fn expires_at(&self) -> Instant {
        let idle = self.idle_since + self.idle_for;
        self.ages_at.map_or(idle, |aged| aged.min(idle))
    }
}

#[derive(Clone, Debug)]
struct Waiter<W> {
    ticket: Ticket,
    origin: usize,
    answer: W,
    /// It stands in the origin's `promised` list, not in its `queued` one.
    promised: bool,
    promised_at: Instant,
    /// Its pool deadline passed while a dial was under way for it.
    overdue: bool,
    /// Wants a connection that has never served.
    fresh: bool,
    links: Links,
}

impl<W> Node for Waiter<W> {
    fn links(&mut self, _: usize) -> &mut Links {
        &mut self.links
    }
}

#[derive(Debug)]
struct OriginState {
    key: Key,
    /// Whether its connections carry many exchanges at once; `None` until the first one tells.
    multiplexed: Option<bool>,
    /// Its slots, in whatever station.
    open: usize,
    closing: usize,
    dialing: usize,
    reserved: usize,
    /// Its connections that are shut: where there is one, another would be no better, and whoever
    /// waits does so for this one.
    shut: usize,
    available: List<AVAILABLE>,
    /// Its oldest waiters, as many as its dials and reserved slots will serve.
    promised: List<0>,
    /// The others, all younger than those of `promised`.
    queued: List<0>,
    /// Its entry in the pool's `blocked`.
    blocked: Option<Ticket>,
    /// The longest connect timeout of those who wait; `None` is for ever.
    patience: Option<Duration>,
    /// When a dial last began on a reserved slot: those it was promised to are connecting since
    /// then, not since the promise.
    dialed_at: Option<Instant>,
}

impl OriginState {
    fn new(key: Key) -> Self {
        Self {
            multiplexed: match key.protocol() {
                Protocol::Http1 => Some(false),
                Protocol::Http2 => Some(true),
                Protocol::Negotiated => None,
            },
            key,
            open: 0,
            closing: 0,
            dialing: 0,
            reserved: 0,
            shut: 0,
            available: List::default(),
            promised: List::default(),
            queued: List::default(),
            blocked: None,
            patience: Some(Duration::ZERO),
            dialed_at: None,
        }
    }

    fn waiting(&self) -> usize {
        self.promised.len() + self.queued.len()
    }

    fn oldest_waiter(&self) -> Option<usize> {
        self.promised.front().or_else(|| self.queued.front())
    }
}

/// The pool: `C` is what it takes to use a connection, `W` what it takes to answer a waiter.
#[derive(Debug)]
pub(crate) struct State<C, W> {
    limits: Limits,
    /// No new requests; those that came before are served.
    draining: bool,
    /// Not even those.
    ended: bool,
    /// Every slot.
    conns: Slab<Conn<C>>,
    waiters: Slab<Waiter<W>>,
    /// Every origin that has a slot or a waiter.
    origins: Slab<OriginState>,
    keys: HashMap<Key, usize>,
    /// The origin that was asked for last: most often the next request's too.
    recent: usize,
    idle: List<IDLE>,
    /// By the ticket of its oldest queued waiter, each origin below its own cap. After each event
    /// it is empty unless every slot is taken, none is idle, and those that close are reserved.
    blocked: BTreeSet<(Ticket, usize)>,
    /// To whom the next free slots belong, oldest first: each origin as often as it has a slot
    /// reserved. Never more than will be free once what closes has closed.
    reservations: VecDeque<usize>,
    /// The sum of the origins' `closing`.
    closing: usize,
    /// The sum of the origins' `queued`.
    queued: usize,
    upgraded: usize,
    next_ticket: u64,
    next_serial: u64,
    /// Its gauges are left empty: a snapshot fills them in.
    counters: Stats,
}

impl<C: Clone, W> State<C, W> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            draining: false,
            ended: false,
            conns: Slab::new(),
            waiters: Slab::new(),
            origins: Slab::new(),
            keys: HashMap::new(),
            recent: 0,
            idle: List::default(),
            blocked: BTreeSet::new(),
            reservations: VecDeque::new(),
            closing: 0,
            queued: 0,
            upgraded: 0,
            next_ticket: 0,
            next_serial: 0,
            counters: Stats::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn counters(&mut self) -> &mut Stats {
        &mut self.counters
    }

    /// A snapshot. Its cost grows with the number of connections.
    pub(crate) fn stats(&self) -> Stats {
        let mut by_origin: BTreeMap<usize, Gauges> = self
            .origins
            .iter()
            .map(|(o, origin)| {
                let gauges = Gauges {
                    waiting: origin.waiting(),
                    ..Gauges::default()
                };
                (o, gauges)
            })
            .collect();
        for (_, conn) in &self.conns {
            let gauges = by_origin.entry(conn.origin).or_default();
            gauges.open += 1;
            *match conn.station {
                Station::Dialing => &mut gauges.connecting,
                Station::Ready if conn.in_use == 0 => &mut gauges.idle,
                Station::Ready => &mut gauges.in_use,
                Station::Closing => &mut gauges.closing,
                Station::Upgraded => &mut gauges.upgraded,
            } += 1;
        }
        let mut stats = self.counters.clone();
        let mut origins = HashMap::<_, Gauges>::new();
        for (o, gauges) in by_origin {
            stats.total += gauges;
            // One origin, even if it is spoken to in two protocols and so has two keys.
            *origins.entry(self.origins[o].key.origin()).or_default() += gauges;
        }
        stats.origins = origins
            .into_iter()
            .map(|(o, gauges)| (o.clone(), gauges))
            .collect();
        stats
    }
}
