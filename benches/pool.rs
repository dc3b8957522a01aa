//! What the pool costs when it has to work for it: a connection that many wait for, and a new origin
//! while every slot is taken by an idle connection of another.
//!
//!     cargo bench --bench pool
//!
//! In memory, with hyper-util's client beside it, which has no cap and so neither waits nor evicts.

#![allow(missing_docs, reason = "a bench is no API")]
#![expect(clippy::expect_used, reason = "a bench fails by a panic")]

mod support;

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::Uri;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{runtime::Runtime, time::Instant};
use tower_upstream::{Limits, Timeouts, Upstream};

use support::{InMemory, runtime};

fn page() -> Uri {
    Uri::from_static("http://page.example/")
}

fn upstream(limits: Limits) -> Upstream {
    let upstream = Upstream::builder()
        .limits(limits.idle_timeout(Duration::from_secs(3600)))
        .timeouts(Timeouts::default().pool(None))
        .connector(InMemory)
        .build();
    upstream.expect("the limits are sound")
}

/// So many exchanges, shared out among `clients` tasks of which each waits for its own.
fn share(
    runtime: &Runtime,
    clients: u64,
    exchanges: u64,
    exchange: impl AsyncFn() + Clone + 'static,
) -> Duration {
    let local = tokio::task::LocalSet::new();
    let start = Instant::now();
    for client in 0..clients {
        let exchange = exchange.clone();
        let own = exchanges / clients + u64::from(client < exchanges % clients);
        local.spawn_local(async move {
            for _ in 0..own {
                exchange().await;
            }
        });
    }
    runtime.block_on(local);
    start.elapsed()
}

/// Every exchange but the first waits for the one before it.
fn hand_over(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("one connection");
    for clients in [1, 10, 1_000] {
        let limits = Limits::new().max_connections(1).max_pending(1_000);
        let upstream = upstream(limits);
        group.bench_function(format!("for {clients} at once"), |b| {
            b.iter_custom(|exchanges| {
                let upstream = upstream.clone();
                let exchange = async move || {
                    black_box(upstream.get(page()).await.is_ok());
                };
                share(&runtime, clients, exchanges, exchange)
            });
        });
    }
    group.finish();
}

/// A round over twice as many origins as there is room for.
fn eviction(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("a dial");
    for slots in [10, 1_000] {
        let uris: Vec<Uri> = (0..2 * slots)
            .map(|i| Uri::try_from(format!("http://origin{i}/")).expect("it is a URI"))
            .collect();
        let mut turns = uris.iter().cycle();
        let limits = Limits::new()
            .max_connections(slots)
            .max_idle_connections(slots);
        let upstream = upstream(limits);
        group.bench_function(format!("in the place of one of {slots} idle"), |b| {
            b.iter(|| {
                let uri = turns.next().expect("it goes round").clone();
                runtime.block_on(async { black_box(upstream.get(uri).await.is_ok()) })
            });
        });
    }
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build::<_, Empty<Bytes>>(InMemory);
    group.bench_function("by hyper-util, which keeps none here", |b| {
        b.iter(|| runtime.block_on(async { black_box(client.get(page()).await.is_ok()) }));
    });
    group.finish();
}

criterion_group!(benches, hand_over, eviction);
criterion_main!(benches);
