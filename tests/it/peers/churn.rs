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
    address: SocketAddr,
    clients: JoinSet<()>,
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Load {
    /// On a server that speaks this version at this address, with so long after each round.
    async fn start(address: SocketAddr, version: Version, pause: fn(u64) -> Duration) -> Self {
        let limits = Limits::new().max_connections(CAP);
        let upstream = in_version(Upstream::builder().limits(limits), version);
        let forward = upstream.forward_to(format!("http://{address}").parse().unwrap());
        let front = axum(forward).await;
        let (is_over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (is_over, answered) = (is_over.clone(), answered.clone());
            clients.spawn(async move {
                let mut client = Client::connect(front, Version::HTTP_11).await;
                for round in 0.. {
                    let answer = client.ask(Request::get("/page.txt"), "").await;
                    assert_eq!(answer.head.status, 200, "{round}: {answer:?}");
                    assert_eq!(answer.body, "hello", "{round}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    sleep(pause(round)).await;
                }
            });
        }
        Self {
            upstream,
            address,
            clients,
            is_over,
            answered,
        }
    }

    /// Waits until so many more have been answered, all well and within the cap.
    async fn go_on(&mut self, more: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < enough {
            let sockets = sockets::connected_to(self.address);
            assert!(sockets <= CAP, "the cap holds: {sockets}");
            // None ends by itself.
            if let Some(end) = self.clients.try_join_next() {
                end.unwrap();
            }
            // A look at all of the machine's sockets is no small thing.
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it, and hands out its handle.
    async fn end(mut self) -> Upstream {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(end) = self.clients.join_next().await {
            end.unwrap();
        }
        self.upstream
    }
}

/// About as long as a server waits that closes what is idle for a second: now a little less, now a
/// little more.
fn about_a_second(round: u64) -> Duration {
    Duration::from_millis(985 + 6 * round)
}

async fn meet_what_is_being_closed(address: SocketAddr, version: Version) {
    let mut load = Load::start(address, version, about_a_second).await;
    load.go_on(5 * CLIENTS).await;
    let upstream = load.end().await;
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
    tokio::join!(
        meet_what_is_being_closed(nginx.address(Version::HTTP_11), Version::HTTP_11),
        meet_what_is_being_closed(nginx.address(Version::HTTP_2), Version::HTTP_2),
    );
}

#[tokio::test]
async fn f8_no_request_fails_where_a_python_server_closes_what_is_idle_for_a_second() {
    let Some(server) = Hypercorn::start(&["--keep-alive", "1"]) else {
        return;
    };
    // One after the other: they share the address by which sockets are counted.
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
        let mut load = Load::start(nginx.address(version), version, |_| Duration::ZERO).await;
        load.go_on(200).await;
        let opened = load.end().await.stats().opened;
        assert!(opened >= 200 / most, "{opened} connections");
    }
}

#[tokio::test]
async fn h4_no_request_fails_while_nginx_restarts_its_workers() {
    let Some(nginx) = Nginx::start("") else {
        return;
    };
    nginx.file("page.txt", "hello");
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut load = Load::start(nginx.address(version), version, |_| Duration::ZERO).await;
        for _ in 0..4 {
            load.go_on(20).await;
            let opened = load.upstream.stats().opened;
            nginx.process.signal("HUP");
            // The old worker has gone once there is a connection to the new.
            while load.upstream.stats().opened == opened {
                load.go_on(1).await;
            }
        }
        load.go_on(20).await;
        load.end().await;
    }
}
