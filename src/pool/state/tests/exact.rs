//! One rule each, by its sentence.

use super::{
    super::{Deadlines, Overdue, Refusal, Station, Ticket, Want},
    CloseCause, Limits, ms,
    world::{Ask, World},
};

const FRESH: Want = Want {
    again: None,
    fresh: true,
};

fn world(max_connections: usize) -> World {
    World::new(Limits::new().max_connections(max_connections))
}

impl World {
    /// A connection to this origin, in use: its place among the leases.
    fn lease_to(&mut self, origin: usize) -> usize {
        self.wait(origin);
        self.dialed(self.dials.len() - 1, 1, None);
        self.leases.len() - 1
    }

    fn idle_to(&mut self, origin: usize) {
        let lease = self.lease_to(origin);
        self.release(lease, Ok(None));
    }

    fn is_waiting(&self, answer: u64) -> bool {
        self.waiting.contains_key(&answer)
    }

    fn dialing_to(&self, origin: usize) -> usize {
        let origins = self.state.stats().origins.into_iter();
        let key = super::key(origin);
        let mut of = origins.filter(|(origin, _)| origin == key.origin());
        of.next().map_or(0, |(_, gauges)| gauges.connecting)
    }

    fn overdue(&mut self, answer: u64, deadlines: Deadlines) -> Overdue {
        let (id, now) = (self.waiting[&answer].id, self.now);
        let mut out = super::Out::default();
        let overdue = self.state.overdue(id, deadlines, now, &mut out);
        if matches!(overdue, Overdue::Refused(_)) {
            self.waiting.remove(&answer);
        }
        self.event(|_, _, all| *all = out);
        overdue
    }
}

#[test]
fn at_the_cap_the_least_recently_used_idle_connection_makes_room() {
    let mut world = world(2);
    world.idle_to(0);
    world.tick(ms(1));
    world.idle_to(1);
    world.tick(ms(1));
    assert_eq!(
        world.ask(0, Want::default(), None, None),
        Ask::Granted { reused: true },
        "the older is used once more, and is the younger from then on"
    );
    world.release(0, Ok(None));
    world.wait(2);
    let evicted = world.closing[0];
    assert_eq!(
        world.state.conns[evicted.key].origin,
        world.state.keys[&super::key(1)],
        "it is the one that was not used for longest"
    );
    assert_eq!(world.closing.len(), 1, "one makes room for one");
    assert!(world.dials.is_empty(), "while it closes there is no room");
    world.free(evicted);
    assert_eq!(world.dialing_to(2), 1, "then its slot is used");
}

#[test]
fn a_busy_origin_does_not_starve_an_older_waiter_of_another() {
    let mut world = world(1);
    world.lease_to(0);
    let (other, own) = (world.wait(1), world.wait(0));
    world.release(0, Ok(None));
    assert!(
        world.is_waiting(own) && world.leases.is_empty(),
        "the connection is closed for who came first"
    );
    world.free(world.closing[0]);
    assert_eq!(world.dialing_to(1), 1);
    world.dialed(0, 1, None);
    assert!(!world.is_waiting(other) && world.is_waiting(own));
}

#[test]
fn a_connection_goes_to_its_own_origin_when_that_came_first() {
    let mut world = world(1);
    world.lease_to(0);
    let (own, other) = (world.wait(0), world.wait(1));
    world.release(0, Ok(None));
    assert!(!world.is_waiting(own) && world.is_waiting(other));
    assert!(
        world.closing.is_empty(),
        "nothing is closed for the younger"
    );
}

#[test]
fn an_origin_at_its_own_cap_holds_up_nobody_else() {
    let limits = Limits::new().max_connections(2);
    let mut world = World::new(limits.max_connections_per_origin(1));
    world.lease_to(0);
    let first = world.wait(0);
    world.wait(1);
    assert_eq!(world.dialing_to(1), 1, "the other's slot is free");
    assert!(world.is_waiting(first));
}

#[test]
fn who_wants_a_fresh_connection_gets_none_that_has_served() {
    let mut world = world(2);
    world.idle_to(0);
    let Ask::Waits(fresh) = world.ask(0, FRESH, None, None) else {
        panic!("there is none to be had");
    };
    assert_eq!(world.closing.len(), 1, "the idle ones are no better");
    assert_eq!(world.dialing_to(0), 1);
    world.dialed(0, 1, None);
    assert!(!world.is_waiting(fresh));
}

#[test]
fn one_more_than_may_wait_is_refused_at_once() {
    let mut world = World::new(Limits::new().max_connections(1).max_pending(2));
    world.lease_to(0);
    let first = world.wait(0);
    world.wait(1);
    let refused = Ask::Refused(Refusal::QueueFull);
    assert_eq!(world.ask(0, Want::default(), None, None), refused);
    assert_eq!(
        world.ask(2, Want::default(), None, None),
        refused,
        "of any origin"
    );
    world.cancel(first);
    world.wait(2);
}

#[test]
fn a_pool_in_which_nobody_may_wait_still_dials_and_evicts() {
    let mut world = World::new(Limits::new().max_connections(1).max_pending(0));
    world.wait(0);
    assert_eq!(
        world.ask(0, Want::default(), None, None),
        Ask::Refused(Refusal::QueueFull),
        "no dial is under way for a second"
    );
    world.dialed(0, 1, None);
    assert_eq!(
        world.ask(1, Want::default(), None, None),
        Ask::Refused(Refusal::QueueFull),
        "the only connection is in use"
    );
    world.release(0, Ok(None));
    world.wait(1);
    assert_eq!(world.closing.len(), 1, "an idle one makes room");
}

#[test]
fn time_in_the_queue_is_over_at_the_pool_deadline_and_not_while_connecting() {
    let mut world = world(1);
    let deadlines = Deadlines {
        pool: Some(world.now + ms(10)),
        connect: Some(ms(30)),
    };
    let (connecting, queued) = (world.wait(0), world.wait(0));
    world.tick(ms(10));
    assert_eq!(
        world.overdue(queued, deadlines),
        Overdue::Refused(Refusal::PoolTimeout),
        "it stands in the queue"
    );
    assert_eq!(
        world.overdue(connecting, deadlines),
        Overdue::Wait(Some(world.now + ms(20))),
        "a dial is under way, and has its own time"
    );
    world.tick(ms(20));
    assert_eq!(
        world.overdue(connecting, deadlines),
        Overdue::Refused(Refusal::ConnectTimeout)
    );
}

#[test]
fn the_time_for_connecting_begins_with_the_dial() {
    let mut world = world(1);
    let deadlines = Deadlines {
        pool: Some(world.now + ms(100)),
        connect: Some(ms(30)),
    };
    world.idle_to(1);
    let waiter = world.wait(0);
    world.tick(ms(30));
    assert_eq!(
        world.overdue(waiter, deadlines),
        Overdue::Wait(Some(world.now + ms(30))),
        "a socket closes for it, which is not a dial yet"
    );
    world.free(world.closing[0]);
    world.tick(ms(20));
    assert_eq!(
        world.overdue(waiter, deadlines),
        Overdue::Wait(Some(world.now + ms(10)))
    );
}

#[test]
fn whose_slot_is_still_being_freed_is_not_connecting_though_another_is() {
    let mut world = world(2);
    let deadlines = Deadlines {
        pool: Some(world.now + ms(10)),
        connect: Some(ms(30)),
    };
    world.idle_to(1);
    let connecting = world.wait(0);
    let promised = world.wait(0);
    assert_eq!((world.dials.len(), world.closing.len()), (1, 1));
    world.tick(ms(10));
    assert_eq!(
        world.overdue(promised, deadlines),
        Overdue::Refused(Refusal::PoolTimeout),
        "the dial is for who came first"
    );
    assert!(matches!(
        world.overdue(connecting, deadlines),
        Overdue::Wait(Some(_))
    ));
}

#[test]
fn a_waiter_past_its_pool_deadline_leaves_when_its_dial_serves_another() {
    let mut world = world(2);
    let deadlines = Deadlines {
        pool: Some(world.now + ms(10)),
        connect: Some(ms(30)),
    };
    let first = world.wait(0);
    let second = world.wait(0);
    world.tick(ms(10));
    world.overdue(second, deadlines);
    // One comes up for the first, and breaks at once; the other dial then belongs to a retry.
    world.dial_failed(0);
    assert!(!world.is_waiting(first) && world.is_waiting(second));
    world.event(|state, now, out| {
        state.set_limits(Limits::new().max_connections(1), now, out);
    });
    world.dial_failed(0);
    assert!(!world.is_waiting(second));
}

#[test]
fn a_connection_past_its_age_ends_between_exchanges() {
    let mut world = world(1);
    world.wait(0);
    world.dialed(0, 1, Some(ms(50)));
    world.tick(ms(60));
    assert_eq!(world.leases.len(), 1, "an exchange is never cut");
    let waiter = world.wait(0);
    world.release(0, Ok(None));
    assert!(world.is_waiting(waiter), "it is not used again");
    assert_eq!(world.state.stats().closed(CloseCause::Aged), 1);
    world.free(world.closing[0]);
    world.dialed(0, 1, Some(ms(50)));
    world.release(0, Ok(None));
    world.tick(ms(50));
    assert_eq!(world.closing.len(), 1, "idle, it closes of itself");
}

#[test]
fn an_idle_connection_ends_at_the_earlier_of_the_two_times() {
    let limits = Limits::new().max_connections(1);
    for (hint, lives) in [(None, 100), (Some(ms(30)), 30), (Some(ms(500)), 100)] {
        let mut world = World::new(limits.idle_timeout(ms(100)));
        world.lease_to(0);
        world.tick(ms(150));
        world.release(0, Ok(hint));
        world.tick(ms(lives - 1));
        assert!(
            world.closing.is_empty(),
            "with {hint:?} it lives for {lives}"
        );
        world.tick(ms(1));
        assert_eq!(world.closing.len(), 1, "and no longer");
    }
}

#[test]
fn lower_limits_close_what_is_idle_cut_nothing_and_dial_nothing() {
    let mut world = world(4);
    world.lease_to(0);
    world.lease_to(0);
    world.idle_to(1);
    world.event(|state, now, out| {
        state.set_limits(Limits::new().max_connections(1), now, out);
    });
    assert_eq!(world.leases.len(), 2, "what is in use stays");
    assert_eq!(world.closing.len(), 1, "what is idle goes first");
    world.free(world.closing[0]);
    let waiter = world.wait(0);
    assert!(world.dials.is_empty(), "there is no room for a dial");
    world.release(0, Ok(None));
    assert!(
        world.is_waiting(waiter) && world.leases.len() == 1,
        "one too many is not used again"
    );
    world.free(world.closing[0]);
    assert!(world.dials.is_empty(), "nor does it make room");
    world.release(0, Ok(None));
    assert!(!world.is_waiting(waiter), "the last one is");
}

#[test]
fn slots_that_lower_limits_take_back_are_not_waited_for() {
    let mut world = world(2);
    world.lease_to(0);
    world.lease_to(0);
    world.release(0, Ok(None));
    world.release(0, Ok(None));
    let lowered = Limits::new().max_connections(1);
    let (first, second) = (world.wait(1), world.wait(2));
    assert_eq!(world.closing.len(), 2, "each has a slot reserved");
    world.event(|state, now, out| state.set_limits(lowered, now, out));
    world.free(world.closing[0]);
    world.free(world.closing[0]);
    world.dialed(0, 1, None);
    world.release(0, Ok(None));
    assert!(!world.is_waiting(first) && world.is_waiting(second));
    assert_eq!(world.closing.len(), 1, "the idle one makes room at once");
}

#[test]
fn a_failed_dial_is_told_to_one_waiter_and_to_none_when_another_dial_serves_it() {
    let mut world = world(2);
    let (first, second) = (world.wait(0), world.wait(0));
    world.cancel(first);
    world.dial_failed(0);
    assert!(
        world.is_waiting(second),
        "the dial that failed was for the one who left"
    );
    world.dial_failed(0);
    assert!(!world.is_waiting(second));
}

#[test]
fn a_waiter_that_leaves_takes_no_dial_with_it() {
    let mut world = world(1);
    let (first, second) = (world.wait(0), world.wait(0));
    world.cancel(first);
    assert_eq!(world.dials.len(), 1, "its dial goes on");
    world.dialed(0, 1, None);
    assert!(!world.is_waiting(second), "and serves the next");
    world.release(0, Ok(None));
    world.end();
}

#[test]
fn a_drain_closes_what_is_idle_serves_who_waits_and_takes_nobody() {
    let mut world = world(2);
    world.lease_to(0);
    world.idle_to(1);
    world.event(|state, now, out| state.drain(now, out));
    assert_eq!(world.closing.len(), 1, "idle is closed at once");
    assert_eq!(
        world.ask(0, Want::default(), None, None),
        Ask::Refused(Refusal::Draining)
    );
    world.free(world.closing[0]);
    world.release(0, Ok(None));
    assert!(!world.state.is_quiet(), "its socket is not gone yet");
    world.free(world.closing[0]);
    assert!(world.state.is_quiet());
}

#[test]
fn what_a_drain_leaves_is_aborted_and_counted() {
    let mut world = world(3);
    world.lease_to(0);
    world.lease_to(0);
    world.lease_to(0);
    world.upgrade(0);
    let waiter = world.wait(0);
    let mut aborted = 0;
    world.event(|state, now, out| aborted = state.abort_all(now, out));
    assert_eq!(aborted, 3, "two exchanges and one that waits");
    assert!(!world.is_waiting(waiter));
    assert_eq!(
        world.closing.len(),
        2,
        "what was upgraded is not ours to cut"
    );
    world.free(world.closing[0]);
    world.free(world.closing[0]);
    assert!(world.state.is_quiet());
    let upgraded = world.upgraded[0];
    assert_eq!(world.state.conns[upgraded.key].station, Station::Upgraded);
}

#[test]
fn a_request_that_comes_again_has_its_turn_before_those_that_came_after_it() {
    let mut world = world(1);
    let first = world.lease_to(0);
    let own = world.wait(0);
    let other = world.wait(1);
    let Ask::Waits(again) = world.ask_again(first, true) else {
        panic!("the socket is not gone yet");
    };
    world.free(world.closing[0]);
    world.dialed(0, 1, None);
    assert!(!world.is_waiting(again), "it came before the others");
    assert!(world.is_waiting(own) && world.is_waiting(other));
    world.end();
}

#[test]
fn a_full_queue_does_not_refuse_a_request_that_comes_again() {
    let limits = Limits::new().max_connections(1).max_pending(0);
    let mut world = World::new(limits);
    let lease = world.lease_to(0);
    assert!(matches!(world.ask_again(lease, true), Ask::Waits(_)));
    world.end();
}

#[test]
fn a_drain_lets_a_request_come_again_until_it_is_over() {
    let mut world = world(2);
    let (_, second) = (world.lease_to(0), world.lease_to(1));
    world.event(|state, now, out| state.drain(now, out));
    assert!(
        matches!(world.ask_again(second, true), Ask::Waits(_)),
        "it was in flight before the drain"
    );
    world.serve_all();
    assert!(world.state.end_if_quiet(), "the drain is over");
    let late = Want {
        again: Some(Ticket(0)),
        fresh: true,
    };
    assert_eq!(
        world.ask(0, late, None, None),
        Ask::Refused(Refusal::Draining),
        "nothing begins after its end"
    );
}
