//! What goes wrong below the pool, by its kind; and that its slot comes back.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tower_upstream::{ErrorKind, Limits, Phase, Upstream};

use crate::support::{
    Server,
    dials::{Dials, URI},
    eventually, sized, sockets,
};

/// An address on which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn refused() {
    let limits = Limits::new().max_connections(1);
    let upstream = Upstream::builder().limits(limits).build().unwrap();
    let address = nobody().await;
    for _ in 0..3 {
        let error = upstream
            .get(format!("http://{address}/"))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.phase()),
            (ErrorKind::ConnectRefused, Some(Phase::Connect))
        );
        assert!(!error.was_sent());
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
    eventually("each frees its slot", || upstream.stats().total.open == 0).await;
    assert_eq!(upstream.stats().connect_failed, 3);
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let upstream = Upstream::builder().build().unwrap();
    let error = upstream.get("http://nope.invalid/").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase()),
        (ErrorKind::Dns, Some(Phase::Connect))
    );
    assert!(error.to_string().contains("nope.invalid"), "{error}");
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_not_dialled() {
    let server = Server::saying("inside").await;
    let upstream = Upstream::builder()
        .allow_addresses(tower_upstream::public_addresses)
        .build()
        .unwrap();
    let port = server.address.port();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"] {
        let error = upstream
            .get(format!("http://{host}:{port}/"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetDenied, "{host}");
    }
    assert_eq!(server.accepted(), 0);
}

/// What a GET ends with when this is the upstream's answer.
async fn answered(bytes: &'static [u8]) -> ErrorKind {
    let dials = Dials::to(move |mut peer| async move {
        peer.request().await?;
        peer.write(bytes).await
    });
    let upstream = dials.builder().build().unwrap();
    let kind = match upstream.get(URI).await {
        Err(error) => error.kind(),
        Ok(response) => response
            .into_body()
            .bytes(1 << 20)
            .await
            .unwrap_err()
            .kind(),
    };
    sleep(Duration::from_millis(1)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
    kind
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_none() {
    assert_eq!(answered(b"").await, ErrorKind::Closed);
    assert_eq!(answered(b"SSH-2.0-OpenSSH\r\n").await, ErrorKind::Protocol);
    assert_eq!(
        answered(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").await,
        ErrorKind::BodyIncomplete
    );
    assert_eq!(
        answered(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await,
        ErrorKind::BodyIncomplete
    );
    assert_eq!(
        answered(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n").await,
        ErrorKind::BodyIncomplete
    );
    assert_eq!(answered(b"HTTP/1.1 200 OK\r\nx: ").await, ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_head_without_end_is_too_large() {
    let dials = Dials::to(|mut peer| async move {
        peer.request().await?;
        peer.write("HTTP/1.1 200 OK\r\n").await?;
        loop {
            peer.write("x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
                .await?;
        }
    });
    let upstream = dials.builder().build().unwrap();
    let error = upstream.get(URI).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HeadTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_request_body_that_fails() {
    let dials = Dials::to(|mut peer| async move {
        peer.request().await?;
        Ok(())
    });
    let upstream = dials.builder().build().unwrap();
    let broken = [
        Ok(Frame::data(Bytes::from_static(b"x"))),
        Err(io::Error::other("broken")),
    ];
    let body = StreamBody::new(stream::iter(broken));
    let error = upstream
        .send(Request::post(URI).body(body).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.phase()),
        (ErrorKind::RequestBody, Some(Phase::Write))
    );
    sleep(Duration::from_millis(1)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_request_body_costs_its_connection_only() {
    let dials = Dials::answering(sized("x"));
    let limits = Limits::new().max_connections(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let body = StreamBody::new(stream::once(std::future::poll_fn(
        |_| -> std::task::Poll<Result<Frame<Bytes>, Infallible>> { panic!("as the test wants it") },
    )));
    let error = upstream
        .send(Request::post(URI).body(body).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.phase()),
        (ErrorKind::RequestBody, Some(Phase::Write))
    );
    let response = upstream.get(URI).await.unwrap();
    assert_eq!(response.into_body().text(10).await.unwrap(), "x");
    assert_eq!(dials.peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_costs_its_slot_only_for_that_dial() {
    let calls = AtomicUsize::new(0);
    let dials = Dials::new(move |_| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            assert!(call >= 2, "as the test wants it");
            Err::<TcpStream, _>(io::ErrorKind::ConnectionRefused.into())
        }
    });
    let limits = Limits::new().max_connections(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    for kind in [
        ErrorKind::Internal,
        ErrorKind::Internal,
        ErrorKind::ConnectRefused,
    ] {
        let error = upstream.get(URI).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (kind, Some(Phase::Connect)));
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
}

#[test]
fn a_runtime_that_ends_takes_its_connections_and_not_the_handle() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let servers = runtime();
    let server = servers.block_on(Server::answering(|request| async move {
        if request.path() == "/stuck" {
            std::future::pending::<()>().await;
        }
        sized("x")
    }));
    let limits = Limits::new().max_connections(2);
    let upstream = Upstream::builder().limits(limits).build().unwrap();
    let first = runtime();
    let body = first.block_on(async {
        tokio::spawn(upstream.get(server.uri("/stuck")));
        upstream.get(server.uri("/")).await.unwrap().into_body()
    });
    first.shutdown_background();
    drop(body);
    let second = runtime();
    second.block_on(async {
        eventually("its sockets are closed", || {
            sockets::connected_to(server.address) == 0
        })
        .await;
        assert_eq!(upstream.stats().total.open, 0);
        for _ in 0..3 {
            let response = upstream.get(server.uri("/")).await.unwrap();
            assert_eq!(response.into_body().text(10).await.unwrap(), "x");
        }
    });
}

#[test]
fn a_dial_begins_also_where_limits_are_raised_outside_any_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Server::answering(|_| async { sized("x") }));
    let limits = Limits::new().max_connections(1);
    let upstream = Upstream::builder().limits(limits).build().unwrap();
    let held = runtime.block_on(upstream.get(server.uri("/"))).unwrap();
    let next = runtime.spawn(upstream.get(server.uri("/")));
    runtime.block_on(eventually("it waits for the only slot", || {
        upstream.stats().total.waiting == 1
    }));
    upstream.set_limits(limits.max_connections(2)).unwrap();
    let response = runtime.block_on(next).unwrap().unwrap();
    assert_eq!(response.status(), 200);
    drop(held);
}
