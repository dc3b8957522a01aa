//! Everything at once: faults, cancellations, gathers, cuts and drains, over HTTP/1.1, HTTP/2 and TLS,
//! in one pool. Every answer says whose it is, and what came of every request is judged.
//!
//! The full length, on an idle machine:
//!
//! ```text
//! cargo test --release --all-features --test it -- --ignored --nocapture chaos
//! ```
//!
//! `CHAOS_SEED=n` repeats the plans of the run that printed `n`, though not its timing;
//! `CHAOS_REQUESTS=n` sets the length of the full run.

mod drive;
mod plan;
mod upstreams;
mod verdict;

use self::{drive::Run, verdict::Tally};
use crate::support::{random::Random, sockets};

/// How many requests a handle serves before it is drained and the next one takes over.
const GENERATION: usize = 5000;

async fn chaos(requests: usize, mut generation_over: impl FnMut(usize)) -> Tally {
    let mut random = Random::from_env("CHAOS_SEED");
    let run = Run::start(requests).await;
    let mut tally = Tally::default();
    let mut from = 0;
    while from < requests {
        let to = requests.min(from + GENERATION);
        tally += run.generation(from..to, &mut random).await;
        generation_over(to);
        from = to;
    }
    run.assert_sent_at_most_as_often_as_may_be();
    eprintln!("{tally}");
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_requests_under_faults_get_their_own_answers_and_leave_nothing_behind() {
    let tally = chaos(50_000, |_| {}).await;
    tally.assert_chaotic();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_million_requests_under_faults_leave_memory_as_it_was() {
    let asked = std::env::var("CHAOS_REQUESTS").ok();
    let requests = asked.map_or(1_000_000, |asked| asked.parse().unwrap());
    let pid = std::process::id();
    let mut memory = Vec::new();
    let mut descriptors = Vec::new();
    let tally = chaos(requests, |_| {
        memory.push(sockets::memory_of(pid));
        descriptors.push(std::fs::read_dir("/proc/self/fd").unwrap().count());
    })
    .await;
    tally.assert_chaotic();
    let (early, late) = (memory[memory.len() / 5], memory[memory.len() - 1]);
    eprintln!(
        "{} MiB after a fifth, {} MiB at the end",
        early >> 20,
        late >> 20
    );
    assert!(late < early + (32 << 20), "memory is flat: {memory:?}");
    assert_eq!(
        descriptors.first(),
        descriptors.last(),
        "and so are descriptors: {descriptors:?}"
    );
}
