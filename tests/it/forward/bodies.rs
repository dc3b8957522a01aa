//! Group D of the fault cases: bodies, and what follows them.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_buf, sink},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::support::{
    Echo, PATIENCE, forward, forward_impatiently, fronts, get, lines, rest, send,
};
use crate::support::{Server, eventually, sized, sockets};

#[tokio::test]
async fn d1_to_d5_a_body_that_breaks_off_never_looks_whole() {
    for (name, bytes) in [
        ("d1: short of its length", &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun"[..]),
        ("d2: no last chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n"),
        (
            "d3: no chunk size",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\nxyz\r\n",
        ),
        (
            "d3: a chunk size over 64 bits",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n1ffffffffffffffff\r\n",
        ),
    ] {
        let server = Server::start(move |mut peer| async move {
            peer.request().await?;
            peer.write(bytes).await
        })
        .await;
        for front in fronts(forward(&server)).await {
            let response = get(front, "").await;
            assert!(response.contains("200 OK") && response.contains("begun"), "{name}: {response}");
            assert!(!response.contains("\r\n0\r\n"), "{name}: no clean end: {response}");
        }
    }
}

#[tokio::test]
async fn d6_d14_a_body_that_stalls_ends_and_the_connection_is_free() {
    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun")
            .await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    for front in fronts(forward_impatiently(&server)).await {
        let response = get(front, "").await;
        assert!(
            response.ends_with("begun"),
            "the read timeout has cut it: {response}"
        );
        eventually("the connection is closed", || server.open() == 0).await;
    }
}

#[tokio::test]
async fn d12_bytes_behind_a_response_without_a_body_are_nobodys() {
    let echo = Echo::saying(|request| match request.method() {
        "HEAD" => b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret".to_vec(),
        _ => b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\nsecret".to_vec(),
    })
    .await;
    for front in fronts(echo.forward()).await {
        for method in ["HEAD", "DELETE", "HEAD"] {
            let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let response = send(front, request).await;
            assert!(!response.contains("secret"), "{method}: {response}");
        }
    }
}

#[tokio::test]
async fn d13_trailers_pass_both_ways_and_the_forbidden_do_not() {
    let server = Server::start(|mut peer| async move {
        let head = peer.head().await?.unwrap();
        assert_eq!(lines(&head, "trailer"), ["x-sum, content-length"]);
        assert_eq!(lines(&head, "te"), ["trailers"]);
        // Up to the next empty line, as a head.
        let body = peer.head().await?.unwrap();
        assert_eq!(body, "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
        peer.write(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, set-cookie\r\n\r\n\
             5\r\nworld\r\n0\r\nx-sum: 2\r\nset-cookie: a=b\r\n\r\n",
        )
        .await
    })
    .await;
    for front in fronts(forward(&server)).await {
        let response = send(
            front,
            "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\
             transfer-encoding: chunked\r\ntrailer: x-sum, content-length\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: 1\r\ncontent-length: 3\r\n\r\n",
        )
        .await;
        assert!(
            response.ends_with("5\r\nworld\r\n0\r\nx-sum: 2\r\n\r\n"),
            "{response}"
        );
    }
}

const LARGE: usize = 100 << 20;

/// How much this process, which is client, proxy and upstream at once, may grow over it.
const BOUND: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_pass_either_way_in_bounded_memory() {
    let server = Server::start(|mut peer| async move {
        let mut socket = BufReader::with_capacity(1 << 18, &mut peer.stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            socket.read_line(&mut head).await?;
        }
        if head.starts_with("PUT") {
            let mut body = BufReader::with_capacity(1 << 18, socket.take(LARGE as u64));
            let n = copy_buf(&mut body, &mut sink()).await?;
            peer.write(sized(n.to_string())).await
        } else {
            peer.write(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"
            ))
            .await?;
            zeros(&mut peer.stream).await
        }
    })
    .await;
    let front = super::support::axum(forward(&server)).await;
    let before = sockets::memory_of(std::process::id());

    let mut socket = TcpStream::connect(front).await.unwrap();
    let head = format!(
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    zeros(&mut socket).await.unwrap();
    assert!(
        rest(&mut socket).await.ends_with(&LARGE.to_string()),
        "all of it has come"
    );

    let mut socket = TcpStream::connect(front).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut body = BufReader::with_capacity(1 << 18, socket);
    let n = copy_buf(&mut body, &mut sink()).await.unwrap();
    assert!(n > LARGE as u64, "all of it has come, and a head");

    let growth = sockets::memory_of(std::process::id()).saturating_sub(before);
    assert!(growth < BOUND, "it streams: memory grew by {growth} bytes");
}

async fn zeros(socket: &mut TcpStream) -> io::Result<()> {
    let piece = vec![0; 1 << 18];
    for _ in 0..LARGE / piece.len() {
        socket.write_all(&piece).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_goes_no_faster_than_the_upstream_reads() {
    let server = Server::start(|mut peer| async move {
        peer.head().await?;
        sleep(PATIENCE).await;
        Ok(())
    })
    .await;
    for front in fronts(forward(&server)).await {
        let mut socket = TcpStream::connect(front).await.unwrap();
        let head = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let all = timeout(Duration::from_millis(300), zeros(&mut socket)).await;
        assert!(all.is_err(), "the client is held back");
    }
}
