//! A client and three upstreams in a simulated network that partitions, holds, crashes and heals.
//!
//! ```text
//! cargo test --all-features --test simulation                      # 200 seeds
//! SIM_SEEDS=10000 cargo test --release --all-features --test simulation
//! SIM_SEED=7 cargo test --all-features --test simulation           # one seed again
//! ```
//!
//! A seed repeats the weather, the requests and their times. What falls into the same tick may fall
//! out in another order.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "simulation/client.rs"]
mod client;
#[path = "it/support/random.rs"]
#[expect(dead_code, reason = "each binary needs a part of it")]
mod random;
#[path = "simulation/upstream.rs"]
mod upstream;
#[path = "simulation/weather.rs"]
mod weather;

use std::{sync::Arc, time::Duration};

use self::{client::Report, random::Random, weather::Weather};

const HOSTS: [&str; 3] = ["one", "two", "three"];
const PORT: u16 = 80;

/// How much simulated time goes by at a time: nothing is exacter than this.
const TICK: Duration = Duration::from_millis(5);

/// For how long things go wrong.
const STORM: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// How many requests there were in a simulated life of a handle, and how many of them failed.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    requests: usize,
    failed: usize,
}

fn simulate(seed: u64, protocol: Protocol) -> Count {
    let mut random = Random::new(seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(random.below(u64::MAX))
        .simulation_duration(Duration::from_secs(60))
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(1 + random.below(20)))
        .enable_random_order()
        .build();
    for host in HOSTS {
        sim.host(host, move || upstream::serve(host, protocol));
    }
    let report = Arc::<Report>::default();
    sim.client(
        "client",
        client::live(protocol, random.split(), report.clone()),
    );
    let mut weather = Weather::new(random);
    while !sim.step().unwrap() {
        let now = sim.elapsed();
        if now < STORM {
            weather.change(&mut sim, now);
        } else if !report.is_healed() {
            weather.heal(&mut sim);
            report.heal();
        }
    }
    report.count()
}

/// `SIM_SEED`, or half of `SIM_SEEDS`, since there are two protocols.
fn simulate_all(protocol: Protocol) {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(200) / 2,
    };
    let mut all = Count::default();
    for seed in seeds.clone() {
        let one = std::panic::catch_unwind(|| simulate(seed, protocol));
        let one = one.unwrap_or_else(|_| panic!("it was SIM_SEED={seed}, {protocol:?}"));
        all.requests += one.requests;
        all.failed += one.failed;
    }
    eprintln!("{protocol:?}, seeds {seeds:?}: {all:?}");
    assert!(all.failed > 0, "the weather was too good");
    assert!(all.failed < all.requests, "the weather was too bad");
}

#[test]
fn over_http1_every_answer_is_its_own_and_all_is_well_after_the_storm() {
    simulate_all(Protocol::Http1);
}

#[test]
fn over_http2_every_answer_is_its_own_and_all_is_well_after_the_storm() {
    simulate_all(Protocol::Http2);
}
