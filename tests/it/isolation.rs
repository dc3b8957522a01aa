//! One dead upstream, held to a cap of its own, costs the others nothing.

use std::{io, time::Duration};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
    time::{Instant, sleep},
};
use tower_upstream::{Limits, Timeouts, Upstream};

use crate::support::{
    Peer, Server,
    dials::{Dials, Gate},
    sized,
};

const CAP: usize = 10;
const CAP_OF_ONE: usize = 4;

fn limits() -> Limits {
    Limits::new()
        .max_connections(CAP)
        .max_connections_per_origin(CAP_OF_ONE)
}

fn timeouts() -> Timeouts {
    Timeouts::new(Duration::from_millis(70)).pool(Duration::from_millis(50))
}

/// Answers after 10 ms, or, to `dead.process`, never.
async fn behave<S: AsyncRead + AsyncWrite + Unpin>(mut peer: Peer<S>) -> io::Result<()> {
    while let Some(request) = peer.request().await? {
        if request.head.contains("dead.process") {
            peer.closed().await;
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
        peer.write(sized("x")).await?;
    }
    Ok(())
}

/// Twice as many as there are connections ask this upstream all the time, in vain.
fn besiege(upstream: &Upstream, uri: &str) -> Vec<AbortHandle> {
    let askers = (0..2 * CAP).map(|_| {
        let (upstream, uri) = (upstream.clone(), uri.to_owned());
        let asking = async move {
            loop {
                let error = upstream.get(uri.as_str()).await.unwrap_err();
                assert!(error.is_timeout(), "{error:?}");
            }
        };
        tokio::spawn(asking).abort_handle()
    });
    askers.collect()
}

/// How long each of so many requests took, by as many callers as the origin has connections.
async fn times(upstream: &Upstream, uri: &str, requests: usize) -> Vec<Duration> {
    let callers = (0..CAP_OF_ONE).map(|_| async {
        let mut times = Vec::new();
        for _ in 0..requests / CAP_OF_ONE {
            let start = Instant::now();
            let response = upstream.get(uri).await.expect("it lives");
            response.into_body().bytes(10).await.unwrap();
            times.push(start.elapsed());
        }
        times
    });
    join_all(callers).await.concat()
}

async fn assert_isolated(dials: Dials) {
    let builder = dials.builder().limits(limits()).timeouts(timeouts());
    let upstream = builder.build().unwrap();
    let alone = times(&upstream, "http://live.process/", 400).await;
    let besiegers = besiege(&upstream, "http://dead.process/");
    sleep(Duration::from_millis(35)).await;
    assert_eq!(
        upstream.stats().total.open,
        2 * CAP_OF_ONE,
        "all of its own"
    );
    let beside = times(&upstream, "http://live.process/", 400).await;
    assert_eq!(beside, alone, "to the nanosecond");
    let peak = dials.peak();
    assert_eq!(peak, 2 * CAP_OF_ONE, "and never more than its own");
    for besieger in besiegers {
        besieger.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_cannot_be_reached_adds_no_wait_to_anothers_requests() {
    let dials = Dials::to(behave).gated(|uri| match uri.host() {
        Some("dead.process") => Gate::Lost,
        _ => Gate::Open,
    });
    assert_isolated(dials).await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_answer_adds_no_wait_to_anothers_requests() {
    assert_isolated(Dials::to(behave)).await;
}

/// Run it on a machine with nothing else to do:
///
/// ```text
/// cargo test --release --all-features --test it -- --ignored --nocapture isolation
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures time"]
async fn on_sockets_a_dead_upstream_adds_at_most_a_tenth_in_the_median_of_twenty_pairs() {
    let live = Server::start(behave).await;
    let dead = Server::start(|mut peer| async move {
        peer.closed().await;
        Ok(())
    })
    .await;
    let builder = Upstream::builder().limits(limits()).timeouts(timeouts());
    let upstream = builder.build().unwrap();
    let mean = async || {
        let times = times(&upstream, &live.uri("/"), 400).await;
        times.iter().sum::<Duration>().as_secs_f64() / times.len() as f64
    };
    let mut ratios = Vec::new();
    for _ in 0..20 {
        let alone = mean().await;
        let besiegers = besiege(&upstream, &dead.uri("/"));
        ratios.push(mean().await / alone);
        for besieger in besiegers {
            besieger.abort();
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = (ratios[9] + ratios[10]) / 2.0;
    eprintln!("median {median:.3}, of {ratios:.3?}");
    assert!(median <= 1.1, "{median} of {ratios:?}");
}
