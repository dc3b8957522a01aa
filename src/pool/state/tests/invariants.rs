//! What holds after every event, whatever came before: worked out anew from the slots and the
//! waiters, and held against the books.

use std::collections::BTreeSet;

use super::{
    super::{AVAILABLE, IDLE, Station},
    Rules,
};

/// Panics with the sentence that does not hold.
pub(super) fn check(state: &Rules) {
    check_sums(state);
    check_lists(state);
    check_waiters(state);
    check_blocked(state);
}

fn check_sums(state: &Rules) {
    for (o, origin) in &state.origins {
        let of = |station| {
            let of = |conn: &&super::super::Conn<u64>| conn.origin == o && conn.station == station;
            state.conns.iter().map(|(_, conn)| conn).filter(of).count()
        };
        let open = state.conns.iter().filter(|(_, conn)| conn.origin == o);
        assert_eq!(origin.open, open.count(), "an origin counts its slots");
        assert_eq!(origin.dialing, of(Station::Dialing), "and its dials");
        assert_eq!(origin.closing, of(Station::Closing), "and what closes");
        let shut = state.conns.iter().map(|(_, conn)| conn);
        let shut = shut.filter(|conn| conn.origin == o && conn.is_shut());
        assert_eq!(origin.shut, shut.count(), "and what is shut");
        assert!(
            origin.open + origin.waiting() > 0,
            "an origin without slots and waiters is forgotten"
        );
        assert_eq!(state.keys.get(&origin.key), Some(&o), "origins have a key");
    }
    assert_eq!(state.keys.len(), state.origins.len(), "one key an origin");
    let sum = |part: fn(&super::super::OriginState) -> usize| -> usize {
        state.origins.iter().map(|(_, origin)| part(origin)).sum()
    };
    assert_eq!(
        sum(|o| o.open),
        state.conns.len(),
        "no slot lacks an origin"
    );
    assert_eq!(sum(|o| o.closing), state.closing, "closing is a sum");
    assert_eq!(sum(|o| o.queued.len()), state.queued, "queued is a sum");
    let upgraded = state.conns.iter();
    let upgraded = upgraded.filter(|(_, conn)| conn.station == Station::Upgraded);
    assert_eq!(upgraded.count(), state.upgraded, "upgraded is a count");
}

fn check_lists(state: &Rules) {
    // A list is walked through links that are handed out to be changed.
    let mut conns = state.conns.clone();
    let idle = state.idle.keys(&mut conns);
    let in_available: BTreeSet<_> = state
        .origins
        .iter()
        .flat_map(|(o, origin)| {
            origin
                .available
                .keys(&mut conns)
                .into_iter()
                .map(move |k| (o, k))
        })
        .collect();
    let in_idle: BTreeSet<_> = idle.iter().copied().collect();
    for (k, conn) in &state.conns {
        let available = in_available.contains(&(conn.origin, k));
        assert_eq!(available, conn.has_room(), "with room, it is to be had");
        assert_eq!(in_idle.contains(&k), conn.is_idle(), "unused, it is idle");
        assert_eq!(conn.listed[AVAILABLE], available, "the mark tells the list");
        assert_eq!(conn.listed[IDLE], conn.is_idle(), "the mark tells the list");
        assert!(
            !conn.is_idle() || conn.check_at.is_some_and(|at| at <= conn.expires_at()),
            "an idle connection is looked at in time"
        );
        assert!(
            !(conn.is_idle() && conn.retired.is_some()),
            "a retired connection closes with its last exchange"
        );
    }
    let since: Vec<_> = idle.iter().map(|&k| state.conns[k].idle_since).collect();
    assert!(since.is_sorted(), "the one idle for longest comes first");
    assert!(
        idle.len() <= state.limits.idle(),
        "no more are idle than the limit allows"
    );
    assert!(
        !state.draining || idle.is_empty(),
        "while draining, nothing is idle"
    );
}

fn check_waiters(state: &Rules) {
    let mut waiters = state.waiters.clone();
    let mut seen = 0;
    for (o, origin) in &state.origins {
        let promised = origin.promised.keys(&mut waiters);
        let queued = origin.queued.keys(&mut waiters);
        let tickets: Vec<_> = promised
            .iter()
            .chain(&queued)
            .map(|&w| state.waiters[w].ticket)
            .collect();
        assert!(tickets.is_sorted(), "first come, first to be promised");
        assert!(
            promised.iter().all(|&w| state.waiters[w].promised)
                && !queued.iter().any(|&w| state.waiters[w].promised),
            "each waiter knows its list"
        );
        let per_dial = state.per_dial(o);
        let under_way = origin.dialing + origin.reserved;
        assert_eq!(
            promised.len(),
            (under_way * per_dial).min(tickets.len()),
            "as many are promised as there is something under way for"
        );
        assert!(
            origin.reserved == 0 || under_way <= tickets.len().div_ceil(per_dial),
            "no slot is reserved that nobody needs"
        );
        let oldest = origin.oldest_waiter().map(|w| &state.waiters[w]);
        assert!(
            origin.available.front().is_none() || oldest.is_none_or(|w| w.fresh),
            "nobody waits while a connection can be had"
        );
        assert!(
            state.waiters.iter().filter(|(_, w)| w.origin == o).count() == tickets.len(),
            "every waiter stands in its origin's lists"
        );
        seen += tickets.len();
    }
    assert_eq!(seen, state.waiters.len(), "no waiter lacks an origin");
}

fn check_blocked(state: &Rules) {
    let blocked: BTreeSet<_> = state
        .origins
        .iter()
        .filter(|(_, o)| o.open + o.reserved < state.limits.per_origin() && o.shut == 0)
        .filter_map(|(o, origin)| {
            let w = origin.queued.front()?;
            Some((state.waiters[w].ticket, o))
        })
        .collect();
    assert_eq!(state.blocked, blocked, "blocked are those that may grow");
    for (o, origin) in &state.origins {
        let entry = blocked.iter().find(|(_, b)| *b == o).map(|(t, _)| *t);
        assert_eq!(origin.blocked, entry, "an origin knows its entry");
    }
    for (o, origin) in &state.origins {
        let slots = state.reservations.iter().filter(|&&other| other == o);
        assert_eq!(
            origin.reserved,
            slots.count(),
            "a reserved slot has its turn"
        );
    }
    let reserved: usize = state.origins.iter().map(|(_, o)| o.reserved).sum();
    assert_eq!(
        reserved,
        state.reservations.len(),
        "no turn lacks an origin"
    );
    let coming = (state.limits.total() + state.closing).saturating_sub(state.conns.len());
    assert!(
        reserved <= coming,
        "no slot is reserved that is not about to be free"
    );
    let room = state.conns.len() < state.limits.total();
    assert!(
        !room || reserved == 0,
        "a free slot goes to those it is reserved for"
    );
    if !blocked.is_empty() {
        assert!(!room, "nobody waits for a slot while one is free");
        assert!(
            state.idle.front().is_none(),
            "nor while an idle one holds it"
        );
        assert_eq!(reserved, coming, "nor while one is about to be free");
    }
}
