//! Connections that leave HTTP.

use std::time::Duration;

use http::{Request, StatusCode};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, sleep},
};
use tower_upstream::{CloseCause, ErrorKind, Forward, Limits, Timeouts, Upstream};

use crate::support::{Peer, Server, dials::Dials, eventually, sized, sockets};

/// Says yes to an upgrade, and then sends everything back.
async fn echo() -> Server {
    Server::start(|mut peer| async move {
        while let Some(head) = peer.head().await? {
            if !head.contains("upgrade: echo") {
                peer.write(sized("x")).await?;
                continue;
            }
            peer.write(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
            )
            .await?;
            let (mut read, mut write) = peer.stream.split();
            tokio::io::copy(&mut read, &mut write).await?;
            break;
        }
        Ok(())
    })
    .await
}

fn upstream() -> Upstream {
    Upstream::builder()
        .limits(Limits::new().max_connections(1))
        .timeouts(Timeouts::default().pool(Duration::from_millis(100)))
        .build()
        .unwrap()
}

fn upgrade(server: &Server) -> Request<String> {
    let request = Request::get(server.uri("/"))
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    request.body(String::new()).unwrap()
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_slot_until_it_is_dropped() {
    let server = echo().await;
    let upstream = upstream();
    let mut response = upstream.send(upgrade(&server)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    drop(response);
    let mut io = TokioIo::new(upgraded);
    io.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    io.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    eventually("it is known to have left HTTP", || {
        upstream.stats().total.upgraded == 1
    })
    .await;
    let error = upstream.get(server.uri("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolTimeout, "its socket counts");
    drop(io);
    let response = upstream.get(server.uri("/")).await.unwrap();
    assert_eq!(response.into_body().text(10).await.unwrap(), "x");
    assert_eq!(upstream.stats().closed(CloseCause::Upgraded), 1);
    assert_eq!(server.peak(), 1);
}

#[tokio::test]
async fn an_upgrade_nobody_takes_frees_its_slot() {
    let server = echo().await;
    let upstream = upstream();
    drop(upstream.send(upgrade(&server)).await.unwrap());
    eventually("the socket is closed", || {
        sockets::connected_to(server.address) == 0
    })
    .await;
    assert_eq!(upstream.stats().total.open, 0);
}

#[tokio::test]
async fn a_drain_reports_what_was_upgraded_and_leaves_it_open() {
    let server = echo().await;
    let upstream = upstream();
    let mut response = upstream.send(upgrade(&server)).await.unwrap();
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    let drained = upstream.drain(Duration::from_secs(10)).await;
    assert_eq!((drained.aborted, drained.upgraded), (0, 1));
    let mut io = TokioIo::new(upgraded);
    io.write_all(b"!").await.unwrap();
    assert_eq!(
        io.read_u8().await.unwrap(),
        b'!',
        "it is not the pool's to cut"
    );
}

/// The client's end of a connection to a front of this, within this process.
fn through(forward: Forward) -> DuplexStream {
    let (client, front) = duplex(1024);
    let service = TowerToHyperService::new(forward);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(front), service);
    tokio::spawn(connection.with_upgrades());
    client
}

/// Both ends of a tunnel within this process.
async fn tunnel(limit: Option<Duration>) -> (Upstream, DuplexStream, Peer<DuplexStream>) {
    let (dials, mut peers) = Dials::by_hand();
    let upstream = dials.builder().build().unwrap();
    let origin = "http://upstream.test".parse().unwrap();
    let mut client = through(upstream.forward_to(origin).tunnel_idle_timeout(limit));
    let offer = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    client.write_all(offer.as_bytes()).await.unwrap();
    let mut peer = peers.recv().await.unwrap();
    peer.head().await.unwrap();
    peer.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    (upstream, client, peer)
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_ended_once_neither_side_has_said_a_thing_for_so_long() {
    let limit = Duration::from_secs(60);
    let (upstream, mut client, mut peer) = tunnel(Some(limit)).await;
    let begun = Instant::now();
    // Each side by itself is silent for longer than that.
    for _ in 0..5 {
        sleep(limit * 2 / 3).await;
        client.write_all(b"a").await.unwrap();
        assert_eq!(peer.stream.read_u8().await.unwrap(), b'a');
        sleep(limit * 2 / 3).await;
        peer.write("b").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'b');
    }
    let last = Instant::now();
    assert_eq!((last - begun).as_secs(), 400, "which kept it open");
    assert_eq!(
        client.read(&mut [0]).await.unwrap(),
        0,
        "the client is told"
    );
    assert_eq!(last.elapsed().as_secs(), 60, "at that time and not before");
    peer.closed().await;
    assert_eq!(last.elapsed().as_secs(), 60, "and the upstream");
    assert_eq!(upstream.stats().total.open, 0, "its place is free");
}

#[tokio::test(start_paused = true)]
async fn by_default_a_tunnel_may_be_silent_for_ever() {
    for limit in [None, Some(Duration::MAX)] {
        let (upstream, mut client, mut peer) = tunnel(limit).await;
        sleep(Duration::from_secs(30 * 24 * 3600)).await;
        client.write_all(b"a").await.unwrap();
        assert_eq!(peer.stream.read_u8().await.unwrap(), b'a');
        assert_eq!(upstream.stats().total.upgraded, 1);
    }
}
