//! Servers that close connections when it suits them, under load.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Version};
use tokio::{task::JoinSet, time::sleep};
use tower_upstream::{Limits, Upstream};

use super::support::{Hypercorn, Nginx};
use crate::{
    forward::{axum, in_version},
    support::{client::Client, sockets},
};

const CLIENTS: usize = 8;
const CAP: usize = 4;

/// Clients that ask one request after the other until they are told to stop.
struct Load {
    upstream: Upstream,
    clients: JoinSet<usize>,
    is_over: Arc<AtomicBool>,
    peak: Arc<AtomicUsize>,
}

impl Load {
    /// On a server that speaks this version at this address, with so long after each round.
    async fn start(address: SocketAddr, version: Version, pause: fn(u64) -> Duration) -> Self {
        let limits = Limits::new().max_connections(CAP);
        let upstream = in_version(Upstream::builder().limits(limits), version);
        let forward = upstream.forward_to(format!("http://{address}").parse().unwrap());
        let front = axum(forward).await;
        let (is_over, peak) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (is_over, peak) = (is_over.clone(), peak.clone());
            clients.spawn(async move {
                let mut client = Client::connect(front, Version::HTTP_11).await;
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let answer = client.ask(Request::get("/page.txt"), "").await;
                    assert_eq!(answer.head.status, 200, "{count}: {answer:?}");
                    assert_eq!(answer.body, "hello", "{count}");
                    peak.fetch_max(sockets::connected_to(address), Ordering::Relaxed);
                    sleep(pause(count)).await;
                    count += 1;
                }
                usize::try_from(count).unwrap()
            });
        }
        Self {
            upstream,
            clients,
            is_over,
            peak,
        }
    }

    /// Ends it. Every request of every client was answered well; says how many there were.
    async fn end(mut self) -> (usize, Upstream) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut count = 0;
        while let Some(client) = self.clients.join_next().await {
            count += client.unwrap();
        }
        let peak = self.peak.load(Ordering::Relaxed);
        assert!(peak <= CAP, "the cap holds: {peak}");
        (count, self.upstream)
    }
}

/// About as long as a server waits that closes what is idle for a second: now a little less, now a
/// little more.
fn about_a_second(round: u64) -> Duration {
    Duration::from_millis(980 + 6 * round)
}

async fn meet_what_is_being_closed(address: SocketAddr, version: Version) {
    let load = Load::start(address, version, about_a_second).await;
    sleep(Duration::from_secs(6)).await;
    let (count, upstream) = load.end().await;
    assert!(count >= 2 * CLIENTS, "{count} requests");
    sleep(Duration::from_millis(1500)).await;
    let next = upstream.get(format!("http://{address}/page.txt")).await;
    assert_eq!(next.unwrap().status(), 200);
    assert!(upstream.stats().opened >= 2, "connections were closed");
}

#[tokio::test]
async fn f8_no_request_fails_where_nginx_closes_what_is_idle_for_a_second() {
    let Some(nginx) = Nginx::start("keepalive_timeout 1s;") else {
        return;
    };
    nginx.file("page.txt", "hello");
    for version in [Version::HTTP_11, Version::HTTP_2] {
        meet_what_is_being_closed(nginx.address(version), version).await;
    }
}

#[tokio::test]
async fn f8_no_request_fails_where_a_python_server_closes_what_is_idle_for_a_second() {
    let Some(server) = Hypercorn::start(&["--keep-alive", "1"]) else {
        return;
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        meet_what_is_being_closed(server.address, version).await;
    }
}

#[tokio::test]
async fn f8_no_request_fails_where_nginx_closes_after_so_many() {
    // Over HTTP/2, requests are under way when the last is counted.
    for (version, most) in [(Version::HTTP_11, 3), (Version::HTTP_2, 50)] {
        let Some(nginx) = Nginx::start(&format!("keepalive_requests {most};")) else {
            return;
        };
        nginx.file("page.txt", "hello");
        let load = Load::start(nginx.address(version), version, |_| Duration::ZERO).await;
        sleep(Duration::from_secs(2)).await;
        let (count, upstream) = load.end().await;
        let opened = usize::try_from(upstream.stats().opened).unwrap();
        assert!(
            opened >= count / most,
            "{opened} connections for {count} requests"
        );
        assert!(count > 3 * CLIENTS, "{count} requests");
    }
}

#[tokio::test]
async fn h4_no_request_fails_while_nginx_restarts_its_workers() {
    let Some(nginx) = Nginx::start("") else {
        return;
    };
    nginx.file("page.txt", "hello");
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let load = Load::start(nginx.address(version), version, |_| Duration::ZERO).await;
        for _ in 0..4 {
            sleep(Duration::from_millis(500)).await;
            nginx.process.signal("HUP");
        }
        sleep(Duration::from_millis(500)).await;
        let (count, upstream) = load.end().await;
        assert!(count > CLIENTS, "{count} requests");
        assert!(
            upstream.stats().opened > 1,
            "workers have come and gone: {}",
            nginx.process.log()
        );
    }
}
