//! What many large answers at once take of the gateway's memory.

use std::time::Duration;

use futures_util::future::join_all;
use tower_upstream::{Limits, Timeouts, Upstream};

use super::Gateway;
use crate::support::{Server, sockets};

const LENGTH: usize = 16 << 20;
const ROOM: usize = 64 << 20;

/// Sends pages of 16 MiB, each as far as it is read.
async fn large() -> Server {
    Server::start(async |mut peer| {
        while peer.request().await?.is_some() {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain";
            let head = format!("{head}\r\ncontent-length: {LENGTH}\r\n\r\n");
            peer.write(head).await?;
            let piece = vec![b'x'; 1 << 16];
            for _ in 0..LENGTH / piece.len() {
                peer.write(&piece).await?;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_gathers_of_five_large_bodies_cut_short_take_little_memory() {
    let server = large().await;
    let url = server.uri("/");
    // The pool is as large as it is by default: what it holds open at once is the other part of it.
    let limits = "--max-connections 100 --max-pending 5000 --truncate-chars 50";
    // However busy the machine.
    let times = "--pool-timeout 60s --connect-timeout 60s --read-timeout 60s --write-timeout 60s";
    let flags = [limits, times].join(" ");
    let mut flags: Vec<_> = flags.split(' ').collect();
    for _ in 0..5 {
        flags.extend(["--gather", &url]);
    }
    let gateway = Gateway::start(&flags).await;
    let client = Upstream::builder()
        .limits(Limits::new().max_connections(1000))
        .timeouts(Timeouts::new(Duration::from_secs(120)))
        .build()
        .unwrap();
    let expected = vec!["x".repeat(50); 5].join("\n\n");
    let ask = async || {
        let response = client.get(gateway.uri("/")).await.unwrap();
        let text = response.into_body().text(1000).await.unwrap();
        assert!(text == expected, "{text}");
    };
    // Whatever is loaded once is.
    ask().await;
    let idle = sockets::memory_of(gateway.pid());
    join_all((0..1000).map(|_| ask())).await;
    let grown = sockets::peak_memory_of(gateway.pid()).saturating_sub(idle);
    eprintln!("{} MiB above idle", grown >> 20);
    assert!(grown < ROOM, "grew by {} MiB", grown >> 20);
}
