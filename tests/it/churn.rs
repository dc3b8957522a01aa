//! Many requests, many ends: what a long run must not wear out.
//!
//! The full lengths, on an idle machine:
//!
//! ```text
//! cargo test --release --all-features --test it -- --ignored --nocapture churn
//! ```
//!
//! `CHURN_SEED=n` repeats the run that printed `n`.

use std::{io, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use http::Request;
use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};
use tower_upstream::{Limits, RemainderPolicy, Timeouts, Upstream};

use crate::support::{
    Peer, Server, chunked, dials::Dials, eventually, random::Random, sized, sockets,
};

/// Does what the path says: answers in many ways, stalls, closes, resets.
async fn behave(mut peer: Peer) -> io::Result<()> {
    while let Some(head) = peer.head().await? {
        let path = head
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no path in {head:?}"))
            .to_owned();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        if path == "/early" {
            peer.write(sized("early")).await?;
        }
        peer.drain(length).await?;
        match path.as_str() {
            "/sized" => peer.write(sized("x")).await?,
            "/chunked" => peer.write(chunked(["some ", "text"])).await?,
            "/large" => peer.write(sized(vec![b'x'; 200_000])).await?,
            "/slow" => {
                sleep(Duration::from_millis(2)).await;
                peer.write(sized("slow")).await?;
            }
            "/stall" => {
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
                    .await?;
                peer.closed().await;
                return Ok(());
            }
            "/hang-up" => {
                peer.write(sized("bye")).await?;
                return peer.stream.shutdown().await;
            }
            "/close" => return Ok(()),
            "/reset" => {
                peer.stream.set_zero_linger()?;
                return Ok(());
            }
            "/early" => {}
            other => panic!("nobody asks for {other}"),
        }
    }
    Ok(())
}

const PATHS: [&str; 10] = [
    "/sized", "/sized", "/chunked", "/large", "/slow", "/stall", "/hang-up", "/close", "/reset",
    "/early",
];

struct Churn {
    upstream: Upstream,
    servers: Vec<Server>,
    dials: Dials,
}

impl Churn {
    async fn new(cap: usize, origins: usize) -> Self {
        let mut servers = Vec::new();
        for _ in 0..origins {
            servers.push(Server::start(behave).await);
        }
        let dials = Dials::tcp();
        let upstream = dials
            .builder()
            .limits(Limits::new().max_connections(cap).max_pending(10_000))
            .timeouts(
                Timeouts::new(Duration::from_millis(200))
                    .pool(None)
                    .connect(None),
            )
            .remainder(RemainderPolicy::new().max_time(Duration::from_millis(5)))
            .build()
            .unwrap();
        Self {
            upstream,
            servers,
            dials,
        }
    }

    /// One request, which may come to anything. A third of them are given up at some point.
    async fn request(&self, mut random: Random) {
        let path = PATHS[random.index(PATHS.len())];
        let server = &self.servers[random.index(self.servers.len())];
        let body = "x".repeat(random.index(2000));
        let request = Request::post(server.uri(path)).body(body).unwrap();
        let exchange = async {
            let response = self.upstream.send(request).await?;
            response.into_body().bytes(1 << 20).await
        };
        if random.below(3) == 0 {
            let _ = timeout(Duration::from_micros(random.below(5000)), exchange).await;
        } else {
            let _ = exchange.await;
        }
    }

    /// Nothing is left, and everything is to be had.
    async fn assert_unworn(&self, cap: usize) {
        let addresses: Vec<_> = self.servers.iter().map(|server| server.address).collect();
        eventually("nothing is in use", || {
            let total = self.upstream.stats().total;
            total.open == total.idle && total.waiting == 0
        })
        .await;
        assert_eq!(self.dials.peak(), cap, "the cap is used, and never passed");
        assert_eq!(self.upstream.stats().peak, cap);
        let next = (0..cap).map(|_| self.upstream.get(self.servers[0].uri("/sized")));
        let next = timeout(Duration::from_secs(5), futures_util::future::join_all(next)).await;
        let next = next.expect("all slots are free");
        assert!(next.iter().all(Result::is_ok), "and fit for use: {next:?}");
        drop(next);
        self.upstream.drain(Duration::from_secs(1)).await;
        assert_eq!(self.upstream.stats().total.open, 0);
        assert_eq!(
            sockets::connected_to_any(&addresses),
            0,
            "no socket is left"
        );
    }
}

async fn churn(requests: u64) {
    let mut random = Random::from_env("CHURN_SEED");
    for cap in [1, 2, 8, 64] {
        let churn = Arc::new(Churn::new(cap, 4).await);
        // At small caps an upstream that stalls holds up all the others.
        let requests = requests * cap.min(8) as u64 / 8;
        stream::iter(0..requests.max(100))
            .for_each_concurrent(3 * cap, |_| {
                let (churn, random) = (churn.clone(), random.split());
                async move {
                    let request = async move { churn.request(random).await };
                    tokio::spawn(request).await.unwrap();
                }
            })
            .await;
        churn.assert_unworn(cap).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_wears_out() {
    churn(400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn nothing_wears_out_in_two_hundred_thousand_requests() {
    churn(80_000).await;
}

/// Upstreams close idle connections at random, and now and then all of them at once, as one that
/// restarts does: no idempotent request fails, no POST comes twice.
async fn closing_at_random(requests: u64) {
    let mut random = Random::from_env("CHURN_SEED");
    let seen = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let posts = seen.clone();
    let seed = random.below(u64::MAX);
    let (restart, restarted) = tokio::sync::watch::channel(());
    let server = Server::start(move |mut peer| {
        let posts = posts.clone();
        let mut restarted = restarted.clone();
        let mut random = Random::new(seed.wrapping_add(peer.number as u64));
        async move {
            restarted.mark_unchanged();
            let mut idle = false;
            loop {
                // Only what is idle is closed: a request on a new connection is under way already.
                let request = tokio::select! {
                    request = peer.request() => request?,
                    _ = restarted.changed(), if idle => return Ok(()),
                };
                idle = true;
                let Some(request) = request else {
                    return Ok(());
                };
                if request.method() == "POST" {
                    let fresh = posts.lock().unwrap().insert(request.path().to_owned());
                    assert!(fresh, "no POST comes twice");
                }
                peer.write(sized("x")).await?;
                if random.below(3) == 0 {
                    sleep(Duration::from_micros(random.below(300))).await;
                    return Ok(());
                }
            }
        }
    })
    .await;
    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(8))
        .timeouts(Timeouts::default().pool(None))
        .build()
        .unwrap();
    stream::iter(0..requests)
        .for_each_concurrent(16, |i| {
            let is_post = random.below(2) == 0;
            let method = if is_post { "POST" } else { "GET" };
            let request = Request::builder().method(method);
            let request = request.uri(server.uri(&format!("/{i}")));
            let response = upstream.send(request.body(String::new()).unwrap());
            if i % 100 == 0 {
                restart.send_replace(());
            }
            async move {
                match response.await {
                    Ok(response) => drop(response.into_body().bytes(10).await),
                    Err(error) => assert!(is_post && error.was_sent(), "{error:?}"),
                }
            }
        })
        .await;
    assert!(upstream.stats().reused > 0, "there was something to close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_that_close_at_random_fail_no_idempotent_request() {
    closing_at_random(3000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn upstreams_that_close_at_random_fail_none_in_two_hundred_thousand() {
    closing_at_random(200_000).await;
}

/// hyper hands out the last of a body before it is ready for the next request; a request sent in
/// between is "connection was not ready".
async fn one_after_the_other(requests: u64) {
    let server = Server::answering(|_| async { chunked(["some ", "text"]) }).await;
    let limits = Limits::new().max_connections(1);
    let upstream = Upstream::builder().limits(limits).build().unwrap();
    for i in 0..requests {
        let response = upstream.get(server.uri("/")).await;
        let body = response.unwrap_or_else(|error| panic!("request {i}: {error:?}"));
        assert_eq!(body.into_body().text(100).await.unwrap(), "some text");
    }
    assert_eq!(server.accepted(), 1, "one connection serves them all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_always_ready_for_the_next_request() {
    tokio::spawn(one_after_the_other(3000)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_connection_is_always_ready_in_a_hundred_thousand_requests() {
    tokio::spawn(one_after_the_other(100_000)).await.unwrap();
}
