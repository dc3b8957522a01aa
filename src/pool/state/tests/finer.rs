//! The finer rules: whom a dial serves, what is not surplus, and what the shell is told.

use super::{
    super::{Checkout, Want},
    CloseCause, Limits, Out, ms,
    world::{Ask, World},
};

/// An origin that has not told its protocol.
const UNKNOWN: usize = 3;

impl World {
    /// What an event asks of the shell.
    fn told(&mut self, event: impl FnOnce(&mut super::Rules, super::Instant, &mut Out)) -> Out {
        let mut out = Out::default();
        event(&mut self.state, self.now, &mut out);
        out
    }

    fn patience(&self, origin: usize) -> Option<super::Duration> {
        let state = &self.state;
        state.origins[state.keys[&super::key(origin)]].patience
    }
}

#[test]
fn one_dial_serves_as_many_as_its_connection_may_carry() {
    let mut world = World::new(Limits::new().max_connections(10));
    for _ in 0..3 {
        world.wait(UNKNOWN);
    }
    assert_eq!(world.dials.len(), 1, "its word is waited for");
    world.dialed(0, 4, None);
    assert!(world.waiting.is_empty() && world.leases.len() == 3);
    assert!(world.dials.is_empty(), "nor is there a dial too many");
}

#[test]
fn who_stood_behind_one_that_wants_a_fresh_connection_is_let_in_when_that_leaves() {
    let mut world = World::new(Limits::new().max_connections(10));
    let fresh = Want {
        again: None,
        fresh: true,
    };
    world.ask(UNKNOWN, fresh, None, None);
    let Ask::Waits(second) = world.ask(UNKNOWN, fresh, None, None) else {
        panic!("there is none to be had");
    };
    world.wait(UNKNOWN);
    world.dialed(0, 4, None);
    assert_eq!(
        (world.leases.len(), world.waiting.len()),
        (1, 2),
        "it is fresh for one of them only, and nobody overtakes the other"
    );
    world.cancel(second);
    assert!(world.waiting.is_empty(), "the last was less particular");
}

#[test]
fn what_closes_makes_nothing_else_surplus() {
    let limits = Limits::new().max_connections(10);
    let mut world = World::new(limits.max_connections_per_origin(2));
    for _ in 0..2 {
        world.wait(0);
        world.dialed(0, 1, None);
    }
    world.release(0, Err(CloseCause::Failed));
    world.release(0, Ok(None));
    let total = world.state.stats().total;
    assert_eq!(
        (total.open, total.idle),
        (2, 1),
        "one closes, and one stays"
    );
}

#[test]
fn every_use_but_the_first_is_a_reuse() {
    let mut world = World::new(Limits::new().max_connections(1));
    world.wait(0);
    world.dialed(0, 1, None);
    for reused in 0..3 {
        assert_eq!(world.state.stats().reused, reused);
        world.release(0, Ok(None));
        world.ask(0, Want::default(), None, None);
    }
}

#[test]
fn a_dial_has_the_patience_of_those_who_wait_and_not_of_those_who_left() {
    let mut world = World::new(Limits::new().max_connections(10));
    let Ask::Waits(patient) = world.ask(0, Want::default(), None, Some(ms(30))) else {
        panic!("there is none to be had");
    };
    let Ask::Waits(other) = world.ask(0, Want::default(), None, Some(ms(10))) else {
        panic!("there is none to be had");
    };
    world.cancel(other);
    assert_eq!(world.patience(0), Some(ms(30)), "one still waits");
    world.cancel(patient);
    world.ask(0, Want::default(), None, Some(ms(10)));
    assert_eq!(world.patience(0), Some(ms(10)));
}

#[test]
fn the_driver_of_a_busy_connection_is_not_told_after_every_exchange() {
    let mut world = World::new(Limits::new().max_connections(1));
    world.wait(0);
    world.dialed(0, 1, None);
    let id = world.leases[0].id;
    let first = world.told(|state, now, out| state.release(id, Ok(None), now, out));
    assert_eq!(first.checks.len(), 1, "the first time it must know when");
    // Even in the same instant.
    for _ in 0..2 {
        world.told(|state, now, out| {
            let asked = state.checkout(&super::key(0), Want::default(), now, out);
            assert!(matches!(asked, Ok(Checkout::Now(_))), "{asked:?}");
        });
        let again = world.told(|state, now, out| state.release(id, Ok(None), now, out));
        assert!(
            again.checks.is_empty(),
            "it looks before that time as it is"
        );
        world.now += ms(1);
    }
}

#[test]
fn a_drain_is_told_when_the_last_socket_is_gone() {
    let mut world = World::new(Limits::new().max_connections(2));
    world.wait(0);
    world.wait(1);
    world.dialed(0, 1, None);
    world.dialed(0, 1, None);
    let ids = [world.leases[0].id, world.leases[1].id];
    assert!(!world.told(|state, now, out| state.drain(now, out)).quiet);
    for (id, quiet) in ids.into_iter().zip([false, true]) {
        let told = world.told(|state, now, out| state.release(id, Ok(None), now, out));
        assert!(!told.quiet, "its socket is still there");
        let told = world.told(|state, now, out| {
            state.freed(id, CloseCause::Drained, now, out);
        });
        assert_eq!(told.quiet, quiet, "nothing else is open");
    }
}

#[test]
fn an_upstream_that_allows_no_exchange_is_not_dialled_again_meanwhile() {
    let mut world = World::new(Limits::new().max_connections(10));
    let waiter = world.wait(UNKNOWN);
    world.dialed(0, 0, None);
    world.wait(UNKNOWN);
    assert!(world.dials.is_empty(), "another would be no better");
    world.wait(0);
    assert_eq!(world.dials.len(), 1, "it is nothing to another origin");
    world.dialed(0, 1, None);
    let id = world.ready.values().next().map(|ready| ready.id).unwrap();
    world.event(|state, now, out| state.set_capacity(id, 1, now, out));
    assert!(
        !world.waiting.contains_key(&waiter),
        "it has changed its mind"
    );
    assert_eq!(world.dials.len(), 1, "and the second may have its own");
    world.end();
}

#[test]
fn a_connection_that_ends_before_it_allowed_anything_is_a_dial_that_failed() {
    let mut world = World::new(Limits::new().max_connections(10));
    world.wait(UNKNOWN);
    world.dialed(0, 0, None);
    let id = world.ready.values().next().map(|ready| ready.id).unwrap();
    world.free(id);
    assert!(
        world.waiting.is_empty(),
        "whoever waited for it hears of it"
    );
    assert!(world.dials.is_empty(), "nobody dials on and on");
}

#[test]
fn one_that_allows_nothing_makes_room_for_another_origin_once_and_for_all() {
    let mut world = World::new(Limits::new().max_connections(1));
    world.wait(UNKNOWN);
    world.dialed(0, 0, None);
    let other = world.wait(0);
    world.free(world.closing[0]);
    assert!(
        world.waiting.keys().eq([&other]),
        "who waited for it in vain does not take the slot back"
    );
    world.dialed(0, 1, None);
    assert!(world.waiting.is_empty() && world.leases.len() == 1);
}

#[test]
fn a_connection_in_use_is_looked_at_when_it_would_be_over_were_it_idle() {
    // Its idle timeout, its age, and what passes; when the next look is, from then.
    let cases = [
        (10_000, None, 0, 10_000),
        (10_000, None, 7, 10_000),
        (10, None, 0, 1_000),
        (10_000, Some(300), 0, 300),
        (10_000, Some(300), 299, 1),
        (10_000, Some(300), 300, 10_000),
        (10_000, Some(300), 301, 10_000),
    ];
    for (idle, age, passed, next) in cases {
        let limits = Limits::new().max_connections(1).idle_timeout(ms(idle));
        let mut world = World::new(limits);
        world.wait(0);
        world.dialed(0, 1, age.map(ms));
        world.now += ms(passed);
        let (id, now) = (world.leases[0].id, world.now);
        let mut look = None;
        let told = world.told(|state, now, out| look = state.expire(id, now, out));
        let case = format!("{idle} ms idle, aged at {age:?}, after {passed}");
        assert_eq!(look, Some(now + ms(next)), "{case}");
        assert!(told.is_empty(), "it is left alone: {case}");
    }
}

#[test]
fn one_that_goes_before_it_has_served_is_no_failed_dial_of_who_waits_then() {
    let mut world = World::new(Limits::new().max_connections(1));
    let left = world.wait(0);
    world.cancel(left);
    world.dialed(0, 1, None);
    world.wait(1);
    let waits = world.wait(0);
    assert_eq!(world.closing.len(), 1, "it makes room for another origin");
    world.free(world.closing[0]);
    assert!(world.waiting.contains_key(&waits), "nothing has failed");
    world.end();
}
