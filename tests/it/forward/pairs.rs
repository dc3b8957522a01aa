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
use tokio::time::sleep;
use tower_upstream::Limits;

use super::{
    faults::in_protocol,
    support::{axum, get, status},
};
use crate::{
    faults, http2,
    support::{
        Server,
        client::{self, Client, PAIRS},
        echo, eventually, front, sized,
        trial::Trial,
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
        let builder = faults::builder().limits(Limits::new().max_connections(4));
        let trial = Trial::capped(4, in_protocol(builder, version)).await;
        trial.count_sockets_to(http1.address);
        trial.count_sockets_to(http2.address);
        let front = axum(trial.upstream.forward_to(uri.parse().unwrap())).await;
        join_all((0..20).map(|n| async move {
            let mut client = Client::connect(front, client).await;
            for i in 0..10 {
                let path = format!("/{n}/{i}");
                let answer = client.ask(Request::get(&path), "").await;
                assert_eq!(answer.body, path, "{version:?}");
            }
        }))
        .await;
        trial.over([]).await;
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
    let trial = Trial::start(in_protocol(faults::builder(), Version::HTTP_2)).await;
    trial.count_sockets_to(server.address);
    let forward = trial.upstream.forward_to(server.uri("/").parse().unwrap());
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
    trial.over([]).await;
}

#[tokio::test]
async fn i9_a_loop_over_http2_ends_after_one_round() {
    let trial = Trial::start(in_protocol(faults::builder(), Version::HTTP_2)).await;
    let (listener, address) = front::listen().await;
    trial.count_sockets_to(address);
    let itself = format!("http://{address}").parse().unwrap();
    let forward = trial.upstream.forward_to(itself).name("edge");
    front::router_on(listener, Router::new().fallback_service(forward));
    let answer = client::ask(address, Version::HTTP_2, Request::get("/"), "").await;
    assert_eq!(answer.head.status, 502);
    assert_eq!(answer.body, "the request has come back to this proxy");
    assert_eq!(trial.upstream.stats().opened, 1, "it went round once");
    trial.over([]).await;
}

#[tokio::test]
async fn i12_a_queue_full_of_requests_to_one_origin_keeps_no_other_waiting() {
    let limits = Limits::new()
        .max_connections(4)
        .max_connections_per_origin(2)
        .max_pending(10);
    let trial = Trial::capped(4, faults::builder().limits(limits)).await;
    let silent = trial.server(|mut peer| async move {
        peer.closed().await;
        Ok(())
    });
    let (silent, lively) = (silent.await, trial.server(echo::serve).await);
    let upstream = &trial.upstream;
    let to = |server: &Server| upstream.forward_to(server.uri("/").parse().unwrap());
    let (one, other) = (axum(to(&silent)).await, axum(to(&lively)).await);
    let held: Vec<_> = (0..30).map(|_| tokio::spawn(get(one, ""))).collect();
    eventually("the queue is full", || {
        let total = upstream.stats().total;
        (total.in_use, total.waiting) == (2, 10)
    })
    .await;
    for _ in 0..20 {
        let response = get(other, "").await;
        assert_eq!(status(&response), "200", "another origin's are served");
    }
    assert_eq!(
        upstream.stats().total.waiting,
        10,
        "and the queue is full still"
    );
    for task in held {
        task.abort();
    }
    drop(silent);
    upstream
        .set_limits(Limits::new().max_connections(4))
        .unwrap();
    trial.over([lively]).await;
}
