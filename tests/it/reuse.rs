//! Which connections are used again, and for how long.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};
use tower_upstream::{CloseCause, ErrorKind, Limits, RemainderPolicy, Upstream};

use crate::support::{
    Server, chunked,
    dials::{Dials, Peers},
    eventually, sized,
};

const URI: &str = "http://in.process/";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn by_hand() -> (Upstream, Dials, Peers) {
    let (dials, peers) = Dials::by_hand();
    let limits = Limits::new().max_connections(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    (upstream, dials, peers)
}

async fn text(upstream: &Upstream) -> String {
    let response = upstream.get(URI).await.unwrap();
    response.into_body().text(1000).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_any_request() {
    let dials = Dials::answering(sized("x"));
    let upstream = dials.builder().build().unwrap();
    text(&upstream).await;
    sleep(ms(3990)).await;
    assert_eq!(dials.open(), 1, "it may be idle for four seconds");
    sleep(ms(20)).await;
    assert_eq!(dials.open(), 0, "and no longer");
    assert_eq!(upstream.stats().closed(CloseCause::Expired), 1);
    text(&upstream).await;
    assert_eq!(dials.dialed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_outlives_the_idle_timeout_and_the_connection_is_kept_afterwards() {
    let (upstream, dials, mut peers) = by_hand();
    let response = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        .await
        .unwrap();
    let body = response.await.unwrap().unwrap().into_body();
    sleep(ms(60_000)).await;
    peer.write("b").await.unwrap();
    assert_eq!(body.text(10).await.unwrap(), "ab");
    sleep(ms(3990)).await;
    assert_eq!(dials.open(), 1, "its idle time begins with its idleness");
    sleep(ms(20)).await;
    assert_eq!(dials.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_keep_alive_hint_shortens_the_idle_time_by_a_margin() {
    let head = "HTTP/1.1 200 OK\r\nkeep-alive: timeout=3, max=100\r\ncontent-length: 0\r\n\r\n";
    let dials = Dials::answering(head.into());
    let upstream = dials.builder().build().unwrap();
    // Later than the connection's first look at its clock.
    for _ in 0..3 {
        text(&upstream).await;
        sleep(ms(1900)).await;
        assert_eq!(dials.dialed(), 1);
    }
    text(&upstream).await;
    sleep(ms(1990)).await;
    assert_eq!(dials.open(), 1, "it may be idle for a second less");
    sleep(ms(20)).await;
    assert_eq!(dials.open(), 0, "and no longer");
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_of_zero_keeps_nothing_and_cuts_nothing() {
    let (dials, mut peers) = Dials::by_hand();
    let limits = Limits::new().idle_timeout(Duration::ZERO);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let response = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    sleep(ms(3000)).await;
    peer.write(sized("x")).await.unwrap();
    let body = response.await.unwrap().unwrap().into_body();
    assert_eq!(body.text(10).await.unwrap(), "x");
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_cap_of_zero_keeps_nothing() {
    let dials = Dials::answering(sized("x"));
    let limits = Limits::new().max_idle_connections(0);
    let upstream = dials.builder().limits(limits).build().unwrap();
    for n in 1..4 {
        assert_eq!(text(&upstream).await, "x");
        sleep(ms(1)).await;
        assert_eq!((dials.open(), dials.dialed()), (0, n));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_past_its_age_is_not_used_again_and_never_cut() {
    let dials = Dials::answering(sized("x"));
    let age = ms(60_000);
    let limits = Limits::new().max_connection_age(age);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let start = Instant::now();
    while dials.dialed() < 2 {
        text(&upstream).await;
        sleep(ms(500)).await;
    }
    let took = start.elapsed();
    assert!(
        (age * 9 / 10..age + ms(1000)).contains(&took),
        "up to a tenth earlier, at random: {took:?}"
    );
    assert_eq!(upstream.stats().closed(CloseCause::Aged), 1);
    let body = upstream.get(URI).await.unwrap().into_body();
    sleep(2 * age).await;
    assert_eq!(
        body.text(10).await.unwrap(),
        "x",
        "an exchange is never cut"
    );
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0, "it ends with it");
}

#[tokio::test(start_paused = true)]
async fn what_the_upstream_closes_is_forgotten_without_a_request() {
    let (upstream, dials, mut peers) = by_hand();
    let response = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    response.await.unwrap().unwrap();
    sleep(ms(1)).await;
    assert_eq!(upstream.stats().total.idle, 1);
    drop(peer);
    sleep(ms(1)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
    assert_eq!(upstream.stats().closed(CloseCause::Remote), 1);
}

#[tokio::test]
async fn bytes_nobody_asked_for_are_noticed_before_the_connection_is_used() {
    let server = Server::start(|mut peer| async move {
        let number = peer.number;
        while let Some(request) = peer.request().await? {
            peer.write(sized(format!("{number}{}", request.path())))
                .await?;
            if number == 0 {
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL")
                    .await?;
            }
        }
        Ok(())
    })
    .await;
    for _ in 0..20 {
        let upstream = Upstream::builder().build().unwrap();
        let first = upstream.get(server.uri("/a")).await.unwrap();
        first.into_body().bytes(10).await.unwrap();
        // On one thread, the driver has had no chance to read before this.
        let second = upstream.get(server.uri("/b")).await.unwrap();
        let text = second.into_body().text(10).await.unwrap();
        assert!(text.ends_with("/b"), "it is its own answer: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn unsolicited_bytes_on_an_idle_connection_close_it() {
    let (upstream, dials, mut peers) = by_hand();
    let response = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    response.await.unwrap().unwrap();
    sleep(ms(1)).await;
    peer.write("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    sleep(ms(1)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
}

/// The upstream closes at the very moment at which a second request is on its way.
async fn closes_at_reuse(
    second: Request<String>,
) -> (Result<String, tower_upstream::Error>, usize) {
    let dials = Dials::to(|mut peer| async move {
        if peer.number == 0 {
            peer.request().await?;
            peer.write(sized("first")).await?;
            peer.request().await?;
            return Ok(());
        }
        while peer.request().await?.is_some() {
            peer.write(sized("again")).await?;
        }
        Ok(())
    });
    let upstream = dials.builder().build().unwrap();
    assert_eq!(text(&upstream).await, "first");
    sleep(ms(1)).await;
    let result = match upstream.send(second).await {
        Ok(response) => Ok(response.into_body().text(10).await.unwrap()),
        Err(error) => Err(error),
    };
    (result, dials.dialed())
}

fn request(method: Method, body: &str) -> Request<String> {
    let request = Request::builder().method(method).uri(URI);
    request.body(body.to_owned()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_request_is_sent_again_when_a_reused_connection_dies() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let is_head = method == Method::HEAD;
        let (result, dialed) = closes_at_reuse(request(method, "")).await;
        assert_eq!(result.unwrap(), if is_head { "" } else { "again" });
        assert_eq!(dialed, 2, "once, on a fresh connection");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_already_is_not_sent_again() {
    for (method, body) in [(Method::POST, ""), (Method::POST, "x"), (Method::PUT, "x")] {
        let (result, dialed) = closes_at_reuse(request(method, body)).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Closed, true));
        assert_eq!(dialed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_sent_again_only_once() {
    let dials = Dials::to(|mut peer| async move {
        peer.request().await?;
        if peer.number == 0 {
            peer.write(sized("first")).await?;
            peer.request().await?;
        }
        Ok(())
    });
    let upstream = dials.builder().build().unwrap();
    text(&upstream).await;
    sleep(ms(1)).await;
    let error = upstream.get(URI).await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Closed, true));
    assert_eq!(dials.dialed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_sent_is_tried_elsewhere_whatever_it_is() {
    let (upstream, dials, mut peers) = by_hand();
    let first = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    first.await.unwrap().unwrap();
    sleep(ms(1)).await;
    // Nothing runs between the close and the request: the driver has not heard of it.
    drop(peer);
    let body = StreamBody::new(stream::iter([Ok::<_, Infallible>(Frame::data(
        Bytes::from_static(b"once"),
    ))]));
    let post = tokio::spawn(upstream.send(Request::post(URI).body(body).unwrap()));
    let mut peer = peers.recv().await.unwrap();
    assert_eq!(peer.request().await.unwrap().unwrap().body, b"once");
    peer.write(sized("")).await.unwrap();
    assert_eq!(post.await.unwrap().unwrap().status(), 200);
    assert_eq!(dials.dialed(), 2);
}

#[tokio::test(start_paused = true)]
async fn responses_without_a_body_give_their_connection_back_at_the_head() {
    let dials = Dials::to(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            let response = match request.path() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\ncontent-length: 100\r\n\r\n",
                "/0" => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n",
            };
            peer.write(response).await?;
        }
        Ok(())
    });
    let limits = Limits::new().max_connections(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let mut held = Vec::new();
    for (method, path) in [
        ("HEAD", "head"),
        ("GET", "204"),
        ("GET", "304"),
        ("GET", "0"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(format!("{URI}{path}"));
        let response = upstream.send(request.body(String::new()).unwrap()).await;
        held.push(response.expect("the one before holds nothing"));
    }
    assert_eq!(dials.dialed(), 1, "one connection serves all");
}

#[tokio::test(start_paused = true)]
async fn bytes_after_a_response_are_never_the_next_one() {
    let dials = Dials::to(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            let stray = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL";
            let response = match (request.method(), request.path()) {
                ("HEAD", _) => format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{stray}"),
                (_, "/sized") => format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx{stray}"),
                (_, "/chunked") => format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n{stray}"
                ),
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood".to_owned(),
            };
            peer.write(response).await?;
        }
        Ok(())
    });
    let limits = Limits::new().max_connections(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    for (n, (method, path)) in [("HEAD", "head"), ("GET", "sized"), ("GET", "chunked")]
        .into_iter()
        .enumerate()
    {
        let request = Request::builder()
            .method(method)
            .uri(format!("{URI}{path}"));
        let request = request.body(String::new()).unwrap();
        let response = upstream.send(request).await.unwrap();
        response.into_body().bytes(10).await.unwrap();
        assert_eq!(text(&upstream).await, "good", "after {method} {path}");
        assert_eq!(dials.dialed(), n + 2, "that connection is not used again");
        // So that each case begins with a connection that is in order.
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_before_the_end_of_its_request_frees_the_slot_within_a_grace() {
    let dials = Dials::to(|mut peer| async move {
        peer.head().await?;
        peer.write(sized("no, thanks")).await?;
        peer.closed().await;
        Ok(())
    });
    let limits = Limits::new().max_connections(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let response = upstream
        .send(Request::post(URI).body(endless).unwrap())
        .await;
    let body = response.unwrap().into_body();
    assert_eq!(body.text(100).await.unwrap(), "no, thanks");
    sleep(ms(60)).await;
    assert_eq!(
        (dials.open(), upstream.stats().total.open),
        (0, 0),
        "the request would never end, and neither would the connection"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_ends_within_the_grace_keeps_its_connection() {
    let dials = Dials::to(|mut peer| async move {
        while peer.head().await?.is_some() {
            peer.write(sized("early")).await?;
            // The body: one chunk and the end.
            peer.drain(4 + 2 + 5).await?;
        }
        Ok(())
    });
    let upstream = dials.builder().build().unwrap();
    for _ in 0..3 {
        let body = stream::once(async {
            sleep(ms(20)).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")))
        });
        let body = StreamBody::new(Box::pin(body));
        let response = upstream.send(Request::post(URI).body(body).unwrap()).await;
        let text = response.unwrap().into_body().text(10).await.unwrap();
        assert_eq!(text, "early");
        sleep(ms(30)).await;
    }
    assert_eq!(dials.dialed(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_asks_to_close_is_not_sent_another_request() {
    for head in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n",
    ] {
        let dials = Dials::answering(format!("{head}x").into());
        let upstream = dials.builder().build().unwrap();
        for n in 1..4 {
            assert_eq!(text(&upstream).await, "x");
            sleep(ms(1)).await;
            assert_eq!((dials.open(), dials.dialed()), (0, n));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_rest_is_read_on_within_its_bounds_only() {
    // The pieces, the pause before the last of them, and whether the connection is kept.
    for (pieces, pause, kept) in [
        (vec![100, 1000], 40, true),
        (vec![100, 1000], 60, false),
        (vec![100, 60_000], 0, true),
        (vec![100, 40_000, 40_000], 0, false),
    ] {
        let (upstream, dials, mut peers) = by_hand();
        let response = tokio::spawn(upstream.get(URI));
        let mut peer = peers.recv().await.unwrap();
        peer.request().await.unwrap();
        let whole = chunked(pieces.iter().map(|&n| vec![b'x'; n]));
        let (head, rest) = whole.split_at(250);
        peer.write(head).await.unwrap();
        let mut body = response.await.unwrap().unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        sleep(ms(pause)).await;
        // What the other side no longer reads is lost.
        let _ = peer.write(rest).await;
        sleep(ms(1)).await;
        assert_eq!(dials.open() == 1, kept, "{pieces:?} after {pause} ms");
        let stats = upstream.stats();
        let expected = if kept { (1, 0) } else { (0, 1) };
        assert_eq!((stats.cut_and_reused, stats.cut_and_closed), expected);
        if kept {
            let next = tokio::spawn(upstream.get(URI));
            peer.request().await.unwrap();
            peer.write(sized("next")).await.unwrap();
            let next = next.await.unwrap().unwrap();
            assert_eq!(next.status(), StatusCode::OK);
            assert_eq!(next.into_body().text(10).await.unwrap(), "next");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_can_close_every_cut_body() {
    let dials = Dials::answering(sized(vec![b'x'; 2000]));
    let builder = dials.builder().remainder(RemainderPolicy::close());
    let upstream = builder.build().unwrap();
    drop(upstream.get(URI).await.unwrap());
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_held_to_the_end_of_the_body_and_not_a_moment_longer() {
    let (upstream, _dials, mut peers) = by_hand();
    let response = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        .await
        .unwrap();
    let mut body = response.await.unwrap().unwrap().into_body();
    let next = tokio::spawn(upstream.get(URI));
    sleep(ms(1000)).await;
    assert_eq!(upstream.stats().total.waiting, 1, "the head is not the end");
    body.frame().await.unwrap().unwrap();
    peer.write("b").await.unwrap();
    body.frame().await.unwrap().unwrap();
    // Nobody asks the body for its end.
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    next.await.unwrap().unwrap();
    drop(body);
}

#[tokio::test]
async fn a_server_that_hangs_up_after_every_answer_fails_no_idempotent_request() {
    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.write(sized("x")).await?;
        peer.stream.shutdown().await
    })
    .await;
    let upstream = Upstream::builder().build().unwrap();
    let requests = (0..20).map(|_| async {
        for _ in 0..10 {
            let response = upstream.get(server.uri("/")).await.unwrap();
            assert_eq!(response.into_body().text(10).await.unwrap(), "x");
        }
    });
    futures_util::future::join_all(requests).await;
    eventually("every socket is closed", || server.open() == 0).await;
    assert_eq!(upstream.stats().total.open, 0);
}
