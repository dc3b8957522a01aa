//! Groups I and J of the fault cases where it is about who gets what: an upstream of either version,
//! a client of either version.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use futures_util::future::join_all;
use http::{HeaderMap, Request, Version};
use tokio::{net::TcpListener, time::sleep};
use tower_upstream::{Limits, Timeouts, Upstream, public_addresses};

use super::{
    faults::in_version,
    support::{Echo, axum, get, lines, status},
};
use crate::{
    http2,
    support::{
        Server,
        client::{self, Client, PAIRS},
        eventually, sized,
    },
};

/// Either upstream says which path it was asked for, sooner or later.
async fn namesakes() -> (Server, http2::Server) {
    let pause = |path: &str| Duration::from_millis(path.bytes().map(u64::from).sum::<u64>() % 7);
    let http1 = Server::answering(move |request| async move {
        sleep(pause(request.path())).await;
        sized(request.path())
    });
    let http2 = http2::serve(100, move |request: Request<_>| async move {
        let path = request.uri().path().to_owned();
        sleep(pause(&path)).await;
        http2::full(path)
    });
    (http1.await, http2.await)
}

#[tokio::test]
async fn j1_each_of_many_clients_gets_the_answers_to_its_own_requests() {
    let (http1, http2) = namesakes().await;
    for (client, version) in PAIRS {
        let uri = if version == Version::HTTP_2 {
            http2.uri("/")
        } else {
            http1.uri("/")
        };
        let upstream = in_version(
            Upstream::builder().limits(Limits::new().max_connections(4)),
            version,
        );
        let front = axum(upstream.forward_to(uri.parse().unwrap())).await;
        join_all((0..20).map(|n| async move {
            let mut client = Client::connect(front, client).await;
            for i in 0..10 {
                let path = format!("/{n}/{i}");
                let answer = client.ask(Request::get(&path), "").await;
                assert_eq!(answer.body, path, "{version:?}");
            }
        }))
        .await;
    }
}

/// An upstream over HTTP/2 that keeps the fields it was sent.
async fn recorder() -> (http2::Server, Arc<Mutex<Vec<HeaderMap>>>) {
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let record = seen.clone();
    let server = http2::serve(100, move |request: Request<_>| {
        record.lock().unwrap().push(request.headers().clone());
        async { http2::full("ok") }
    })
    .await;
    (server, seen)
}

#[tokio::test]
async fn i2_i3_over_http2_too_the_upstream_is_told_what_the_proxy_knows_on_one_line_each() {
    let (server, seen) = recorder().await;
    let upstream = in_version(Upstream::builder(), Version::HTTP_2);
    let forward = upstream.forward_to(server.uri("/").parse().unwrap());
    let forward = forward
        .name("edge")
        .client_address(|info: &ConnectInfo<SocketAddr>| info.ip());
    let front = axum(forward).await;
    let spoof = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "7.7.7.7"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-forwarded-host", "evil"),
        ("x_forwarded_for", "6.6.6.6"),
        ("te", "trailers"),
    ];
    let spoofing = || {
        spoof
            .iter()
            .fold(Request::get("/"), |request, (n, v)| request.header(*n, *v))
    };
    client::ask(front, Version::HTTP_2, spoofing(), "").await;
    // HTTP/2 cannot name fields in Connection.
    let named = "x-forwarded-for, HOST, te, via, x-FORWARDED-proto ,forwarded, secret";
    let naming = spoofing().header("connection", named).header("secret", "1");
    client::ask(front, Version::HTTP_11, naming, "").await;

    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), 2);
    for (fields, number) in seen.iter().zip(["2", "1.1"]) {
        let lines = |name: &str| -> Vec<_> { fields.get_all(name).iter().collect() };
        assert_eq!(lines("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(lines("x-forwarded-proto"), ["http"]);
        assert_eq!(lines("x-forwarded-host"), [&*front.to_string()]);
        assert_eq!(lines("forwarded").len(), 1);
        assert_eq!(lines("via"), [&*format!("{number} edge")]);
        assert_eq!(lines("te"), ["trailers"]);
        let text = format!("{fields:?}");
        for gone in ["6.6.6.6", "evil", "secret", "connection"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
    }
}

#[tokio::test]
async fn i9_a_loop_over_http2_ends_after_one_round() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = in_version(Upstream::builder(), Version::HTTP_2);
    let forward = upstream.forward_to(format!("http://{address}").parse().unwrap());
    let app = Router::new().fallback_service(forward.name("edge"));
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    let answer = client::ask(address, Version::HTTP_2, Request::get("/"), "").await;
    assert_eq!(answer.head.status, 502);
    assert_eq!(answer.body, "the request has come back to this proxy");
    assert_eq!(upstream.stats().opened, 1, "it went round once");
}

#[tokio::test]
async fn i6_an_origin_inside_is_not_dialled_however_it_is_written() {
    let server = Server::saying("secret").await;
    let port = server.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "0177.1",
        "2130706433",
        "0x7f.1",
        "169.254.169.254",
        "[::1]",
    ] {
        let upstream = Upstream::builder()
            .allow_addresses(public_addresses)
            .build()
            .unwrap();
        let Ok(origin) = format!("http://{host}:{port}").parse() else {
            continue;
        };
        let front = axum(upstream.forward_to(origin).proxy_status(true).name("edge")).await;
        let response = get(front, "").await;
        assert_eq!(status(&response), "502", "{host}: {response}");
        assert!(!response.contains("secret"), "{host}: {response}");
        assert_eq!(upstream.stats().opened, 0, "{host}");
        assert_eq!(server.accepted(), 0, "{host}: not one SYN");
    }
    let upstream = Upstream::builder()
        .allow_addresses(public_addresses)
        .build()
        .unwrap();
    let front = axum(
        upstream
            .forward_to(server.uri("/").parse().unwrap())
            .proxy_status(true)
            .name("edge"),
    );
    let response = get(front.await, "").await;
    assert_eq!(
        lines(&response, "proxy-status"),
        ["\"edge\"; error=destination_ip_prohibited"]
    );
}

#[tokio::test]
async fn i12_a_queue_full_of_requests_to_one_origin_keeps_no_other_waiting() {
    let silent = Server::start(|mut peer| async move {
        peer.closed().await;
        Ok(())
    })
    .await;
    let lively = Echo::start().await;
    let limits = Limits::new()
        .max_connections(4)
        .max_connections_per_origin(2)
        .max_pending(10);
    let upstream = Upstream::builder()
        .limits(limits)
        .timeouts(Timeouts::new(Duration::from_secs(30)))
        .build()
        .unwrap();
    let to = |server: &Server| upstream.forward_to(server.uri("/").parse().unwrap());
    let (one, other) = (axum(to(&silent)).await, axum(to(&lively.server)).await);
    let held: Vec<_> = (0..30).map(|_| tokio::spawn(get(one, ""))).collect();
    eventually("the queue is full", || {
        let total = upstream.stats().total;
        (total.in_use, total.waiting) == (2, 10)
    })
    .await;
    for _ in 0..20 {
        assert_eq!(
            status(&get(other, "").await),
            "200",
            "another origin's are served"
        );
    }
    assert_eq!(
        upstream.stats().total.waiting,
        10,
        "and the queue is full still"
    );
    for task in held {
        task.abort();
    }
}
