//! What a snapshot shows, and what is counted.

use super::{
    super::{Refusal, Want},
    CloseCause, Limits, Out, ms,
    world::{Ask, World},
};
use crate::stats::Gauges;

/// An origin that may turn out to speak HTTP/2.
const UNKNOWN: usize = 3;

#[test]
fn a_snapshot_shows_each_connection_in_its_state_and_each_waiter() {
    let mut world = World::new(Limits::new().max_connections(8));
    for origin in [0, 0, 0, 0, 1, 1] {
        world.wait(origin);
        world.dialed(0, 1, None);
    }
    world.release(0, Err(CloseCause::Failed));
    world.upgrade(0);
    for idle in [1, 1, 1] {
        world.release(idle, Ok(None));
    }
    world.wait(2);
    world.wait(2);
    let stats = world.state.stats();
    let of = |n: usize| {
        let key = super::key(n);
        let mut of = stats.origins.iter();
        of.find(|(origin, _)| origin == key.origin()).unwrap().1
    };
    let mut first = Gauges::default();
    (first.open, first.closing, first.upgraded) = (4, 1, 1);
    (first.idle, first.in_use) = (1, 1);
    assert_eq!(of(0), first);
    let mut second = Gauges::default();
    (second.open, second.idle) = (2, 2);
    assert_eq!(of(1), second);
    let mut third = Gauges::default();
    (third.open, third.connecting, third.waiting) = (2, 2, 2);
    assert_eq!(of(2), third);
    let mut total = Gauges::default();
    (total.open, total.connecting, total.idle) = (8, 2, 3);
    (total.in_use, total.closing, total.upgraded) = (1, 1, 1);
    total.waiting = 2;
    assert_eq!(stats.total, total, "all of them together");
}

#[test]
fn dials_and_waits_are_counted_one_by_one() {
    let mut world = World::new(Limits::new().max_connections(2).max_pending(1));
    world.wait(0);
    world.dialed(0, 1, None);
    world.wait(0);
    world.dialed(0, 1, None);
    world.wait(0);
    let refused = world.ask(0, Want::default(), None, None);
    assert_eq!(refused, Ask::Refused(Refusal::QueueFull));
    let stats = world.state.stats();
    assert_eq!((stats.opened, stats.connect_failed), (2, 0));
    assert_eq!(stats.waited, 3, "who was refused has not waited");
    world.release(0, Err(CloseCause::Failed));
    world.release(0, Err(CloseCause::Failed));
    world.free(world.closing[0]);
    world.dial_failed(0);
    world.wait(1);
    world.wait(1);
    world.dial_failed(0);
    let stats = world.state.stats();
    assert_eq!((stats.opened, stats.connect_failed), (2, 2));
}

#[test]
fn what_the_shell_counts_is_in_the_snapshot() {
    let mut world = World::new(Limits::new());
    world.state.counters().cut_and_reused += 1;
    world.state.counters().cut_and_reused += 1;
    assert_eq!(world.state.stats().cut_and_reused, 2);
}

#[test]
fn the_limits_are_those_that_were_set_last() {
    let first = Limits::new().max_connections(7);
    let mut world = World::new(first);
    assert_eq!(world.state.limits(), first);
    let second = first.max_pending(3);
    world.event(|state, now, out| state.set_limits(second, now, out));
    assert_eq!(world.state.limits(), second);
}

#[test]
fn upgraded_connections_are_counted_until_their_sockets_are_gone() {
    let mut world = World::new(Limits::new().max_connections(2));
    for n in 1..=2 {
        world.wait(0);
        world.dialed(0, 1, None);
        world.upgrade(0);
        assert_eq!(world.state.upgraded_count(), n);
    }
    world.free(world.upgraded[0]);
    assert_eq!(world.state.upgraded_count(), 1);
}

#[test]
fn a_retired_connection_serves_out_its_exchange_and_no_other() {
    let mut world = World::new(Limits::new().max_connections(1));
    world.wait(0);
    world.dialed(0, 1, None);
    let id = world.leases[0].id;
    world.event(|state, now, out| state.retire(id, now, out));
    assert!(world.closing.is_empty(), "the exchange is not cut");
    let waiter = world.wait(0);
    world.release(0, Ok(None));
    assert!(world.waiting.contains_key(&waiter), "it is not used again");
    assert_eq!(world.closing, [id]);
    assert_eq!(world.state.stats().closed(CloseCause::Remote), 1);
}

#[test]
fn an_idle_connection_that_is_retired_closes_at_once() {
    let mut world = World::new(Limits::new());
    world.wait(0);
    world.dialed(0, 1, None);
    let id = world.leases[0].id;
    world.release(0, Ok(None));
    world.event(|state, now, out| state.retire(id, now, out));
    assert_eq!(world.closing, [id]);
}

#[test]
fn an_upstream_that_allows_more_exchanges_is_given_more_and_never_more_than_the_limit() {
    let limits = Limits::new().max_connections(1);
    let mut world = World::new(limits.max_streams_per_connection(3));
    for _ in 0..4 {
        world.wait(UNKNOWN);
    }
    world.dialed(0, 1, None);
    assert_eq!(world.leases.len(), 1);
    let id = world.leases[0].id;
    world.event(|state, now, out| state.set_capacity(id, 2, now, out));
    assert_eq!(world.leases.len(), 2);
    world.event(|state, now, out| state.set_capacity(id, 100, now, out));
    assert_eq!((world.leases.len(), world.waiting.len()), (3, 1));
}

#[test]
fn nobody_overtakes_who_waits_though_there_is_room() {
    let mut world = World::new(Limits::new().max_connections(10));
    let fresh = Want {
        again: None,
        fresh: true,
    };
    world.ask(UNKNOWN, fresh, None, None);
    world.ask(UNKNOWN, fresh, None, None);
    world.dialed(0, 4, None);
    assert_eq!(
        (world.leases.len(), world.waiting.len()),
        (1, 1),
        "it is fresh for one of them only"
    );
    world.wait(UNKNOWN);
}

#[test]
fn a_drain_of_an_empty_pool_is_over_at_once() {
    let mut world = World::new(Limits::new());
    let mut out = Out::default();
    world.state.drain(world.now, &mut out);
    assert!(out.quiet);
}

#[test]
fn whose_dial_goes_to_a_retry_is_refused_only_past_its_pool_deadline() {
    for (waited, is_over) in [(ms(9), false), (ms(10), true)] {
        let mut world = World::new(Limits::new().max_connections(2));
        world.wait(0);
        world.dialed(0, 1, None);
        let Ask::Waits(waiter) = world.ask(0, Want::default(), Some(ms(10)), Some(ms(30))) else {
            panic!("the only connection is in use");
        };
        world.tick(waited);
        assert!(world.waiting.contains_key(&waiter), "its dial has time");
        assert!(matches!(world.ask_again(0, true), Ask::Waits(_)));
        assert_eq!(
            !world.waiting.contains_key(&waiter),
            is_over,
            "after {waited:?} of ten milliseconds"
        );
    }
}
