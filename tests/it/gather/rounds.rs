//! Again and again, a hundred gathers at once, each wider than the pool: nothing stalls, and every
//! leg gets what is its own.
//!
//! The full length:
//!
//! ```text
//! cargo test --release --all-features --test it -- --ignored two_thousand_rounds
//! ```

use std::{io, time::Duration};

use futures_util::future::join_all;
use tokio::{
    io::DuplexStream,
    time::{sleep, timeout},
};
use tower_upstream::{Gather, Limits, RemainderPolicy, Timeouts, Truncate, Upstream};

use super::support::read;
use crate::support::{Peer, Server, chunked, dials::Dials, sized, sockets};

const CAPS: [usize; 3] = [1, 2, 5];
const PARENTS: usize = 100;
const WIDTH: usize = 10;

/// One that waits for its turn as long as it takes.
fn handle(dials: &Dials, cap: usize) -> Upstream {
    let timeouts = Timeouts::new(Duration::from_secs(1)).pool(None);
    let builder = dials.builder().limits(limits(cap)).timeouts(timeouts);
    builder.build().unwrap()
}

fn limits(cap: usize) -> Limits {
    Limits::new().max_connections(cap).max_pending(10_000)
}

/// A page in three chunks that says its path again and again.
fn page(path: &str) -> Vec<u8> {
    let line = path.repeat(30);
    chunked([&line, &line, &line])
}

fn expect_page(path: &str) -> String {
    path.repeat(90).chars().take(50).collect()
}

async fn all(parents: impl Iterator<Item = impl Future<Output = ()>>) {
    // In virtual time, as long as all of a round's silent upstreams one after the other.
    let all = timeout(Duration::from_secs(3600), join_all(parents));
    all.await.expect("nothing stalls");
}

/// Over real sockets: the cap is what the kernel says.
async fn plain(rounds: usize) {
    let server = Server::answering(async |request| page(request.path())).await;
    for cap in CAPS {
        let upstream = Upstream::builder()
            .limits(limits(cap))
            .timeouts(Timeouts::new(Duration::from_secs(60)))
            // Whatever else the machine is doing, a cut rest is read on.
            .remainder(RemainderPolicy::new().max_time(Duration::from_secs(60)))
            .build()
            .unwrap();
        for _ in 0..rounds {
            all((0..PARENTS).map(async |parent| {
                let path = |leg| format!("/{parent}/{leg}/");
                let uris = (0..WIDTH).map(|leg| server.uri(&path(leg)));
                let gather = Gather::get(uris).truncate(Truncate::chars(50));
                let text = read(gather.send(&upstream).await).await;
                assert!(sockets::connected_to(server.address) <= cap);
                let expected: Vec<_> = (0..WIDTH).map(|leg| expect_page(&path(leg))).collect();
                assert_eq!(text, expected.join("\n\n"));
            }))
            .await;
        }
        let opened = upstream.stats().opened;
        assert_eq!(opened, cap as u64, "a cut costs no connection");
    }
}

/// Each leg's upstream gathers in its turn, over a handle of its own.
async fn nested(rounds: usize) {
    for cap in CAPS {
        let leaves = Dials::to(async |mut peer| {
            while let Some(request) = peer.request().await? {
                peer.write(page(request.path())).await?;
            }
            Ok(())
        });
        let inner = handle(&leaves, cap);
        let middle = Dials::to(move |mut peer| {
            let inner = inner.clone();
            async move {
                while let Some(request) = peer.request().await? {
                    let uris = (0..3).map(|sub| format!("http://leaf{}{sub}/", request.path()));
                    let gather = Gather::get(uris).truncate(Truncate::chars(50));
                    let text = read(gather.send(&inner).await).await;
                    peer.write(sized(text)).await?;
                }
                Ok(())
            }
        });
        let outer = handle(&middle, cap);
        for _ in 0..rounds {
            all((0..PARENTS).map(async |parent| {
                let uris = (0..WIDTH).map(|leg| format!("http://middle/{parent}/{leg}/"));
                let leaf = |n| expect_page(&format!("/{parent}/{}/{}/", n / 3, n % 3));
                let expected: Vec<_> = (0..3 * WIDTH).map(leaf).collect();
                let text = read(Gather::get(uris).send(&outer).await).await;
                assert_eq!(text, expected.join("\n\n"));
            }))
            .await;
        }
        assert!(leaves.peak() <= cap && middle.peak() <= cap, "caps hold");
    }
}

/// What becomes of a leg.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fine,
    Dead,
    StallsInItsBody,
    Resets,
    Answers500,
    Endless,
}

impl Fate {
    /// Each in its turn, and every other leg is fine.
    fn of(round: usize, parent: usize, leg: usize) -> Self {
        match (round + parent + leg) % 10 {
            0 => Self::Dead,
            2 => Self::StallsInItsBody,
            4 => Self::Resets,
            6 => Self::Answers500,
            8 => Self::Endless,
            _ => Self::Fine,
        }
    }

    fn uri(self, parent: usize, leg: usize) -> String {
        match self {
            Self::Dead => format!("http://dead/{parent}/{leg}/"),
            _ => format!("http://{self:?}/{parent}/{leg}/").to_lowercase(),
        }
    }

    fn expected(self, parent: usize, leg: usize) -> String {
        match self {
            Self::Fine | Self::Endless => expect_page(&format!("/{parent}/{leg}/")),
            Self::Dead => format!("[{leg}: upstream refused the connection]"),
            Self::StallsInItsBody => format!("half\n[{leg}: upstream read timed out]"),
            Self::Resets => format!("half\n[{leg}: upstream response broke off]"),
            Self::Answers500 => format!("[{leg}: status 500 Internal Server Error]\nsorry"),
        }
    }
}

/// An upstream that does what the host says.
async fn befall(mut peer: Peer<DuplexStream>) -> io::Result<()> {
    const HALF: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nhalf";
    while let Some(request) = peer.request().await? {
        let host = request
            .head
            .lines()
            .find_map(|line| line.strip_prefix("host: "));
        match host.unwrap() {
            "stallsinitsbody" => {
                peer.write(HALF).await?;
                peer.closed().await;
            }
            "resets" => return peer.write(HALF).await,
            "answers500" => {
                let head = "HTTP/1.1 500 Whatever\r\ncontent-length: 5\r\n\r\n";
                peer.write(format!("{head}sorry")).await?;
            }
            "endless" => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";
                peer.write(head).await?;
                loop {
                    peer.write(request.path()).await?;
                }
            }
            _ => peer.write(page(request.path())).await?,
        }
    }
    Ok(())
}

async fn faulty(rounds: usize) {
    for cap in CAPS {
        let (dials, mut peers) = Dials::by_hand_but_to("dead");
        tokio::spawn(async move {
            while let Some(peer) = peers.recv().await {
                tokio::spawn(befall(peer));
            }
        });
        let upstream = handle(&dials, cap);
        for round in 0..rounds {
            all((0..PARENTS).map(async |parent| {
                let fate = |leg| Fate::of(round, parent, leg);
                let uris = (0..WIDTH).map(|leg| fate(leg).uri(parent, leg));
                let gather = Gather::get(uris).truncate(Truncate::chars(50));
                let text = async { read(gather.send(&upstream).await).await };
                if (round + parent) % 7 == 3 {
                    // This client leaves, sooner or later.
                    let leaves = Duration::from_millis((parent * 37 % 1500) as u64);
                    let _ = timeout(leaves, text).await;
                    return;
                }
                let expected = (0..WIDTH).map(|leg| fate(leg).expected(parent, leg));
                assert_eq!(text.await, expected.collect::<Vec<_>>().join("\n\n"));
            }))
            .await;
        }
        assert!(dials.peak() <= cap, "the cap holds");
        sleep(Duration::from_secs(10)).await;
        let total = upstream.stats().total;
        assert_eq!((total.open, total.waiting), (0, 0), "nothing is left");
        assert_eq!(dials.open(), 0, "no socket either");
    }
}

#[tokio::test]
async fn gathers_wider_than_the_cap_do_not_stall_and_keep_their_legs_apart() {
    plain(1).await;
}

#[tokio::test(start_paused = true)]
async fn gathers_whose_legs_gather_do_not_stall() {
    nested(1).await;
}

#[tokio::test(start_paused = true)]
async fn faults_and_clients_that_leave_affect_their_own_legs_alone() {
    faulty(1).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn two_thousand_rounds_do_not_stall() {
    plain(667).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes"]
async fn two_thousand_rounds_of_nested_gathers_do_not_stall() {
    nested(667).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes"]
async fn two_thousand_rounds_under_faults_affect_their_own_legs_alone() {
    faulty(667).await;
}
