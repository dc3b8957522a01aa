//! Connections that leave HTTP.

use std::time::Duration;

use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_upstream::{CloseCause, ErrorKind, Limits, Timeouts, Upstream};

use crate::support::{Server, eventually, sized, sockets};

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
