//! Any events in any order.

use proptest::{prelude::*, sample::Index};

use super::{super::Want, CloseCause, Duration, Limits, ms, world::World};

#[derive(Clone, Debug)]
enum Event {
    Ask {
        origin: usize,
        fresh: bool,
        pool: Option<Duration>,
        connect: Option<Duration>,
    },
    /// A connection dies under its exchange, which asks for another.
    AskAgain {
        lease: Index,
        fresh: bool,
    },
    Cancel(Index),
    Dialed {
        dial: Index,
        capacity: usize,
        age: Option<Duration>,
    },
    DialFailed(Index),
    Release {
        lease: Index,
        keep: Result<Option<Duration>, CloseCause>,
    },
    /// The upstream takes no more requests on it.
    Retire(Index),
    SetCapacity(Index, usize),
    Upgrade(Index),
    /// A socket that was to close is gone.
    Closed(Index),
    UpgradeOver(Index),
    /// A connection breaks, used or not.
    Breaks(Index),
    Tick(Duration),
    SetLimits(Limits),
    Drain,
    AbortAll,
}

fn some(times: impl Strategy<Value = u64>) -> impl Strategy<Value = Option<Duration>> {
    prop::option::of(times.prop_map(ms))
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        1..6_usize,
        prop::option::of(1..4_usize),
        any::<Index>(),
        prop_oneof![1 => Just(0), 4 => Just(100), 1 => Just(30)],
        prop_oneof![3 => Just(1000), 2 => 0..4_usize],
        1..4_usize,
    )
        .prop_map(|(total, per_origin, idle, idle_for, pending, streams)| {
            Limits::new()
                .max_connections(total)
                .max_connections_per_origin(per_origin)
                .max_idle_connections(idle.index(total + 1))
                .idle_timeout(ms(idle_for))
                .max_pending(pending)
                .max_streams_per_connection(streams)
        })
}

fn event() -> impl Strategy<Value = Event> {
    let ask = (
        0..5_usize,
        prop::bool::weighted(0.1),
        some(0..200_u64),
        some(1..200_u64),
    );
    let ask = ask.prop_map(|(origin, fresh, pool, connect)| Event::Ask {
        origin,
        fresh,
        pool,
        connect,
    });
    let capacity = prop_oneof![4 => Just(1), 1 => 2..4_usize, 1 => Just(0)];
    let dialed = (any::<Index>(), capacity, some(10..300_u64));
    let dialed = dialed.prop_map(|(dial, capacity, age)| Event::Dialed {
        dial,
        capacity,
        age,
    });
    let keep = prop_oneof![
        4 => Just(Ok(None)),
        1 => (0..200_u64).prop_map(|hint| Ok(Some(ms(hint)))),
        2 => Just(Err(CloseCause::Unfinished)),
    ];
    let release = (any::<Index>(), keep).prop_map(|(lease, keep)| Event::Release { lease, keep });
    prop_oneof![
        30 => ask,
        4 => (any::<Index>(), any::<bool>()).prop_map(|(lease, fresh)| Event::AskAgain { lease, fresh }),
        8 => any::<Index>().prop_map(Event::Cancel),
        20 => dialed,
        4 => any::<Index>().prop_map(Event::DialFailed),
        20 => release,
        2 => any::<Index>().prop_map(Event::Upgrade),
        2 => any::<Index>().prop_map(Event::Retire),
        2 => (any::<Index>(), 0..4_usize).prop_map(|(i, n)| Event::SetCapacity(i, n)),
        16 => any::<Index>().prop_map(Event::Closed),
        2 => any::<Index>().prop_map(Event::UpgradeOver),
        4 => any::<Index>().prop_map(Event::Breaks),
        6 => (0..150_u64).prop_map(|time| Event::Tick(ms(time))),
        3 => limits().prop_map(Event::SetLimits),
    ]
}

/// Events, of which some end in a drain.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let end = prop_oneof![
        3 => Just(vec![]),
        1 => Just(vec![Event::Drain]),
        1 => Just(vec![Event::Drain, Event::AbortAll]),
    ];
    let events = || prop::collection::vec(event(), 0..60);
    (events(), end, events()).prop_map(|(mut before, end, after)| {
        before.extend(end);
        before.extend(after);
        before
    })
}

fn pick<T: Copy>(from: &[T], index: Index) -> Option<T> {
    (!from.is_empty()).then(|| from[index.index(from.len())])
}

fn place<T>(of: &[T], index: Index) -> Option<usize> {
    (!of.is_empty()).then(|| index.index(of.len()))
}

fn apply(world: &mut World, event: &Event) {
    match *event {
        Event::Ask {
            origin,
            fresh,
            pool,
            connect,
        } => {
            let want = Want { again: None, fresh };
            world.ask(origin, want, pool, connect);
        }
        Event::AskAgain { lease, fresh } => {
            if let Some(i) = place(&world.leases, lease) {
                world.ask_again(i, fresh);
            }
        }
        Event::Cancel(index) => {
            let waiting: Vec<_> = world.waiting.keys().copied().collect();
            if let Some(answer) = pick(&waiting, index) {
                world.cancel(answer);
            }
        }
        Event::Dialed {
            dial,
            capacity,
            age,
        } => {
            if let Some(i) = place(&world.dials, dial) {
                world.dialed_as_can_be(i, capacity, age);
            }
        }
        Event::DialFailed(index) => {
            if let Some(i) = place(&world.dials, index) {
                world.dial_failed(i);
            }
        }
        Event::Release { lease, keep } => {
            if let Some(i) = place(&world.leases, lease) {
                world.release(i, keep);
            }
        }
        Event::Upgrade(index) => {
            // Only a connection that carries one exchange can be handed over.
            if let Some(i) = place(&world.leases, index)
                && world
                    .leases
                    .iter()
                    .filter(|lease| lease.id == world.leases[i].id)
                    .count()
                    == 1
            {
                world.upgrade(i);
            }
        }
        Event::Retire(index) => {
            let ready: Vec<_> = world.ready.values().map(|ready| ready.id).collect();
            if let Some(id) = pick(&ready, index) {
                world.event(|state, now, out| state.retire(id, now, out));
            }
        }
        Event::SetCapacity(index, capacity) => {
            let ready: Vec<_> = world.ready.values().map(|ready| ready.id).collect();
            if let Some(id) = pick(&ready, index) {
                world.event(|state, now, out| state.set_capacity(id, capacity, now, out));
            }
        }
        Event::Closed(index) => {
            if let Some(id) = pick(&world.closing, index) {
                world.free(id);
            }
        }
        Event::UpgradeOver(index) => {
            if let Some(id) = pick(&world.upgraded, index) {
                world.free(id);
            }
        }
        Event::Breaks(index) => {
            let ready: Vec<_> = world.ready.values().map(|ready| ready.id).collect();
            if let Some(id) = pick(&ready, index) {
                world.free(id);
            }
        }
        Event::Tick(time) => world.tick(time),
        Event::SetLimits(limits) => {
            world.event(|state, now, out| state.set_limits(limits, now, out));
        }
        Event::Drain => world.event(|state, now, out| state.drain(now, out)),
        Event::AbortAll => world.event(|state, now, out| {
            state.abort_all(now, out);
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_rule_holds_after_every_event(limits in limits(), events in events()) {
        let mut world = World::new(limits);
        for event in &events {
            apply(&mut world, event);
        }
        world.end();
    }
}
