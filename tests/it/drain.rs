//! How a handle ends: drained, or just dropped.

use std::{io, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use tower_upstream::{CloseCause, Drained, ErrorKind, Limits, Phase, Timeouts, Upstream};

use crate::support::{
    Server,
    dials::{Dials, URI, by_hand},
    eventually, ms, patient, sized, sockets,
};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na";

fn drain(upstream: &Upstream, deadline: Duration) -> tokio::task::JoinHandle<(Drained, Duration)> {
    let upstream = upstream.clone();
    tokio::spawn(async move {
        let start = Instant::now();
        (upstream.drain(deadline).await, start.elapsed())
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_closes_at_once_what_is_under_way_ends_and_nobody_new_is_taken() {
    let (upstream, dials, mut peers) = by_hand(2, patient());
    let idle = tokio::spawn(upstream.get(URI));
    let mut first = peers.recv().await.unwrap();
    first.request().await.unwrap();
    let busy = tokio::spawn(upstream.get(URI));
    let mut second = peers.recv().await.unwrap();
    second.request().await.unwrap();
    first.write(sized("")).await.unwrap();
    idle.await.unwrap().unwrap();
    sleep(ms(1)).await;
    assert_eq!(upstream.stats().total.idle, 1);

    let drained = drain(&upstream, ms(10_000));
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 1, "the idle one is gone");
    assert_eq!(upstream.stats().closed(CloseCause::Drained), 1);
    let error = upstream.get(URI).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase(), error.was_sent()),
        (ErrorKind::Draining, Some(Phase::Pool), false)
    );
    second.write(HEAD).await.unwrap();
    let body = busy.await.unwrap().unwrap().into_body();
    sleep(ms(5000)).await;
    second.write("b").await.unwrap();
    assert_eq!(body.text(10).await.unwrap(), "ab", "it comes to its end");
    let (drained, took) = drained.await.unwrap();
    assert_eq!((drained.aborted, drained.upgraded), (0, 0));
    assert!(
        took < ms(5010),
        "it returns when the last is over: {took:?}"
    );
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_was_waiting_already_is_served() {
    let (upstream, dials, mut peers) = by_hand(1, patient());
    let requests: Vec<_> = (0..3).map(|_| tokio::spawn(upstream.get(URI))).collect();
    let other = tokio::spawn(upstream.get("http://other.process/"));
    let mut peer = peers.recv().await.unwrap();
    let drained = drain(&upstream, ms(10_000));
    sleep(ms(1)).await;
    for request in requests {
        peer.request().await.unwrap();
        peer.write(sized("")).await.unwrap();
        request.await.unwrap().expect("it came before the drain");
    }
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    other.await.unwrap().expect("even where it needs a dial");
    assert_eq!(drained.await.unwrap().0.aborted, 0);
    assert_eq!((dials.open(), dials.dialed()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_aborted_at_the_deadline_and_counted() {
    let (upstream, dials, mut peers) = by_hand(2, patient());
    let reading = tokio::spawn(upstream.get(URI));
    let mut first = peers.recv().await.unwrap();
    first.request().await.unwrap();
    first.write(HEAD).await.unwrap();
    let body = reading.await.unwrap().unwrap().into_body();
    let reading = tokio::spawn(body.text(10));
    let sent = tokio::spawn(upstream.get(URI));
    let mut second = peers.recv().await.unwrap();
    second.request().await.unwrap();
    let waiting = tokio::spawn(upstream.get(URI));
    sleep(ms(1)).await;

    let (drained, took) = drain(&upstream, ms(700)).await.unwrap();
    assert_eq!(drained.aborted, 3, "a body, a request and a waiter");
    assert!((ms(700)..ms(800)).contains(&took), "after {took:?}");
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.was_sent()),
        (ErrorKind::Draining, true)
    );
    let error = sent.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.was_sent()),
        (ErrorKind::Draining, true)
    );
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.was_sent()),
        (ErrorKind::Draining, false)
    );
    assert_eq!(
        upstream.drain(ms(700)).await,
        Drained::default(),
        "once is enough"
    );
}

#[tokio::test(start_paused = true)]
async fn dials_are_aborted_at_the_deadline() {
    let dials = Dials::new(|_| std::future::pending::<io::Result<TcpStream>>());
    let timeouts = Timeouts::default().connect(None);
    let upstream = dials.builder().timeouts(timeouts).build().unwrap();
    let requests: Vec<_> = (0..3).map(|_| tokio::spawn(upstream.get(URI))).collect();
    sleep(ms(1)).await;
    let (drained, took) = drain(&upstream, ms(700)).await.unwrap();
    assert_eq!(drained.aborted, 3);
    assert!((ms(700)..ms(800)).contains(&took), "after {took:?}");
    for request in requests {
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Draining);
    }
    assert_eq!(dials.open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_aborted_hears_of_the_drain_and_of_nothing_else() {
    let dials = Dials::new(|_| std::future::pending::<io::Result<TcpStream>>());
    let limits = Limits::new().max_connections(50);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let requests: Vec<_> = (0..100).map(|_| tokio::spawn(upstream.get(URI))).collect();
    eventually("all wait", || upstream.stats().total.waiting == 100).await;
    // A dial's task may begin later than its request waits.
    eventually("all dials have begun", || dials.dialed() == 50).await;
    assert_eq!(upstream.drain(ms(1)).await.aborted, 100);
    for request in requests {
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Draining);
    }
    assert_eq!((dials.open(), dials.dialed()), (0, 50));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_given_up_goes_on_without_a_deadline() {
    let (upstream, dials, mut peers) = by_hand(1, patient());
    let busy = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    let drained = drain(&upstream, ms(100));
    sleep(ms(1)).await;
    drained.abort();
    sleep(ms(5000)).await;
    let error = upstream.get(URI).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Draining);
    peer.write(sized("")).await.unwrap();
    busy.await.unwrap().expect("nothing was aborted");
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_is_read_on_does_not_outlive_the_drain() {
    let (upstream, dials, mut peers) = by_hand(1, patient());
    let response = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(HEAD).await.unwrap();
    drop(response.await.unwrap().unwrap());
    let (drained, took) = drain(&upstream, ms(10)).await.unwrap();
    assert!(
        took < ms(110),
        "its rest is given up with all else: {took:?}"
    );
    assert_eq!(dials.open(), 0);
    assert!(drained.aborted <= 1);
}

#[tokio::test]
async fn no_socket_is_open_when_a_drain_returns() {
    let server = Server::start(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            if request.path() == "/stuck" {
                peer.write(HEAD).await?;
                peer.closed().await;
                break;
            }
            peer.write(sized("x")).await?;
        }
        Ok(())
    })
    .await;
    let upstream = Upstream::builder().build().unwrap();
    let mut bodies = Vec::new();
    for path in ["/stuck", "/stuck", "/idle"] {
        let body = upstream.get(server.uri(path)).await.unwrap().into_body();
        bodies.push(body);
    }
    bodies.pop().unwrap().bytes(10).await.unwrap();
    assert_eq!(sockets::connected_to(server.address), 3);
    let drained = upstream.drain(ms(100)).await;
    assert_eq!(sockets::connected_to(server.address), 0, "none at all");
    assert_eq!(drained.aborted, 2);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_closes_what_is_idle_and_lets_bodies_end() {
    let (upstream, dials, mut peers) = by_hand(2, patient());
    let idle = tokio::spawn(upstream.get(URI));
    let mut first = peers.recv().await.unwrap();
    first.request().await.unwrap();
    let busy = tokio::spawn(upstream.get(URI));
    let mut second = peers.recv().await.unwrap();
    second.request().await.unwrap();
    first.write(sized("")).await.unwrap();
    second.write(HEAD).await.unwrap();
    idle.await.unwrap().unwrap();
    let body = busy.await.unwrap().unwrap().into_body();
    let clone = upstream.clone();
    drop(upstream);
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 2, "there is another clone");
    drop(clone);
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 1, "the idle one is gone with the last");
    second.write("b").await.unwrap();
    assert_eq!(body.text(10).await.unwrap(), "ab");
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0, "and the other with its body");
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_ends_its_dials() {
    let dials = Dials::new(|_| std::future::pending::<io::Result<TcpStream>>());
    let upstream = dials.builder().build().unwrap();
    let request = tokio::spawn(upstream.get(URI));
    sleep(ms(1)).await;
    request.abort();
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 1, "a dial is the pool's");
    drop(upstream);
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0);
}

#[tokio::test]
async fn a_handle_that_is_dropped_leaves_no_socket() {
    let server = Server::saying("x").await;
    let upstream = Upstream::builder().build().unwrap();
    let response = upstream.get(server.uri("/")).await.unwrap();
    response.into_body().bytes(10).await.unwrap();
    assert_eq!(sockets::connected_to(server.address), 1);
    drop(upstream);
    eventually("the socket is closed", || {
        sockets::connected_to(server.address) == 0
    })
    .await;
}
