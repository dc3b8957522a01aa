//! What one exchange on an idle connection costs beside ten and beside ten thousand idle
//! connections, origins and waiting requests: it must not depend on them.
//!
//!     cargo bench --bench checkout
//!
//! The last lines are the ratios of the medians, which the README of this folder keeps.

#![allow(missing_docs, reason = "a bench is no API")]
#![expect(clippy::expect_used, reason = "a bench fails by a panic")]

mod support;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::join_all;
use tokio::runtime::Runtime;
use tower_upstream::{Limits, Timeouts, Upstream};

use support::{InMemory, runtime};

/// A handle with so many idle connections, to as many origins, and so many requests that wait for a
/// connection of another.
fn handle(runtime: &Runtime, idle: usize, waiting: usize) -> Upstream {
    let limits = Limits::new()
        .max_connections(idle + 1)
        .max_idle_connections(idle)
        .max_connections_per_origin(1)
        .idle_timeout(Duration::from_secs(3600))
        .max_pending(waiting);
    let upstream = Upstream::builder()
        .limits(limits)
        .timeouts(Timeouts::default().pool(None).read(None))
        .connector(InMemory)
        .build()
        .expect("the limits are sound");
    runtime.block_on(async {
        for chunk in (0..idle).collect::<Vec<_>>().chunks(100) {
            join_all(
                chunk
                    .iter()
                    .map(|i| upstream.get(format!("http://origin{i}/"))),
            )
            .await;
        }
        for _ in 0..=waiting {
            tokio::spawn(upstream.get("http://silent/"));
        }
        while upstream.stats().total.waiting < waiting || upstream.stats().total.idle < idle {
            tokio::task::yield_now().await;
        }
    });
    upstream
}

fn checkout(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("checkout");
    for (name, idle, waiting) in [
        ("10 idle", 10, 0),
        ("10,000 idle", 10_000, 0),
        ("10 idle, 10,000 waiting", 10, 10_000),
        ("10,000 idle, 10,000 waiting", 10_000, 10_000),
    ] {
        let upstream = handle(&runtime, idle, waiting);
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(async { black_box(upstream.get("http://origin5/").await) }));
        });
        drop(upstream);
    }
    group.finish();
}

criterion_group!(benches, checkout);
criterion_main!(benches);
