//! Upgrades, from end to end.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tower_upstream::Upstream;

use super::support::{PATIENCE, fronts, lines, status, upstream};
use crate::support::{Server, eventually};

const OFFER: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nConnection: Upgrade\r\nupgrade: WebSocket\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nwelcome";

/// An upstream that changes its protocol to one of echoes.
async fn echo() -> Server {
    Server::start(|mut peer| async move {
        let head = peer.head().await?.unwrap();
        assert_eq!(lines(&head, "upgrade"), ["WebSocket"]);
        assert_eq!(lines(&head, "connection"), ["upgrade"]);
        assert_eq!(lines(&head, "sec-websocket-version"), ["13"]);
        peer.write(ACCEPT).await?;
        let (mut read, mut write) = peer.stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        Ok(())
    })
    .await
}

async fn open(front: std::net::SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(front).await.unwrap();
    client.write_all(OFFER.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"welcome") {
        let n = timeout(PATIENCE, client.read_buf(&mut head))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(n, 0, "it is open: {}", String::from_utf8_lossy(&head));
    }
    let head = String::from_utf8(head).unwrap();
    assert_eq!(status(&head), "101");
    assert_eq!(lines(&head, "upgrade"), ["websocket"]);
    assert_eq!(
        lines(&head, "sec-websocket-accept"),
        ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
    );
    client
}

fn forward(upstream: &Upstream, server: &Server) -> tower_upstream::Forward {
    upstream.forward_to(server.uri("/").parse().unwrap())
}

#[tokio::test]
async fn a_websocket_is_tunnelled_both_ways_and_ends_with_its_client() {
    let server = echo().await;
    let upstream = upstream();
    for front in fronts(forward(&upstream, &server)).await {
        let mut client = open(front).await;
        for text in [&b"ping"[..], &[7; 100_000]] {
            client.write_all(text).await.unwrap();
            let mut back = vec![0; text.len()];
            timeout(PATIENCE, client.read_exact(&mut back))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(back, text);
        }
        assert_eq!(
            upstream.stats().total.upgraded,
            1,
            "it is one of the connections"
        );
        drop(client);
        eventually("the upstream's side is closed too", || server.open() == 0).await;
        eventually("its place is free", || upstream.stats().total.open == 0).await;
    }
}

#[tokio::test]
async fn a_drain_waits_for_tunnels_and_ends_them_at_its_deadline() {
    let server = echo().await;
    let upstream = upstream();
    let [front, _] = fronts(forward(&upstream, &server)).await;
    let mut client = open(front).await;

    let begun = Instant::now();
    let deadline = Duration::from_millis(200);
    let drained = upstream.drain(deadline).await;
    let took = begun.elapsed();
    assert!(took >= deadline, "what is in flight may finish: {took:?}");
    assert!(
        took < deadline + Duration::from_secs(1),
        "but not for ever: {took:?}"
    );
    assert_eq!(drained.upgraded, 0, "none is left open");
    assert_eq!(upstream.stats().total.open, 0);
    let n = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(n, Ok(0) | Err(_)), "the client is told, too");
}

#[tokio::test]
async fn an_upgrade_with_a_body_is_an_ordinary_request() {
    let server = Server::answering(|request| async move {
        assert_eq!(lines(&request.head, "upgrade"), [""; 0]);
        assert_eq!(request.body, b"hello");
        crate::support::sized("ok")
    })
    .await;
    for front in fronts(forward(&upstream(), &server)).await {
        let request = "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
            content-length: 5\r\n\r\nhello";
        let response = super::support::send(front, request).await;
        assert_eq!(status(&response), "200", "{response}");
    }
}
