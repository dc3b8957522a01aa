//! First come, first served; and how long that may take.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{
    io::DuplexStream,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower_upstream::{Error, ErrorKind, Limits, Phase, Timeouts, Upstream};

use crate::support::{
    Peer,
    dials::{Dials, Peers, URI, by_hand},
    ms, patient, sized,
};

#[tokio::test(start_paused = true)]
async fn requests_are_served_in_the_order_in_which_they_came() {
    let (upstream, dials, mut peers) = by_hand(1, patient());
    let requests: Vec<_> = (0..20)
        .map(|i| {
            let upstream = upstream.clone();
            tokio::spawn(async move {
                let response = upstream.get(format!("{URI}{i}")).await.unwrap();
                response.into_body().bytes(10).await.unwrap();
            })
        })
        .collect();
    let mut peer = peers.recv().await.unwrap();
    for i in 0..20 {
        let request = peer.request().await.unwrap().unwrap();
        assert_eq!(request.path(), format!("/{i}"), "its turn has come");
        peer.write(sized("x")).await.unwrap();
    }
    assert!(join_all(requests).await.iter().all(Result::is_ok));
    assert_eq!(dials.dialed(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_pass_those_who_wait() {
    let (upstream, _dials, mut peers) = by_hand(1, patient());
    let first = tokio::spawn(upstream.get(format!("{URI}first")));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    let second = tokio::spawn(upstream.get(format!("{URI}second")));
    sleep(ms(1)).await;
    peer.write(sized("")).await.unwrap();
    first.await.unwrap().unwrap();
    // The connection is back by now, and was given on before anybody else could ask.
    let third = tokio::spawn(upstream.get(format!("{URI}third")));
    assert_eq!(peer.request().await.unwrap().unwrap().path(), "/second");
    peer.write(sized("")).await.unwrap();
    assert_eq!(peer.request().await.unwrap().unwrap().path(), "/third");
    peer.write(sized("")).await.unwrap();
    second.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_the_queue_hurts_nobody() {
    let (upstream, dials, mut peers) = by_hand(1, patient());
    let held = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    let mut waiting: Vec<_> = (0..10)
        .map(|i| Some(tokio::spawn(upstream.get(format!("{URI}{i}")))))
        .collect();
    sleep(ms(1)).await;
    for i in [0, 3, 4, 9] {
        waiting[i].take().unwrap().abort();
    }
    sleep(ms(1)).await;
    assert_eq!(upstream.stats().total.waiting, 6);
    peer.write(sized("")).await.unwrap();
    held.await.unwrap().unwrap();
    for i in [1, 2, 5, 6, 7, 8] {
        let request = peer.request().await.unwrap().unwrap();
        assert_eq!(
            request.path(),
            format!("/{i}"),
            "the others keep their order"
        );
        peer.write(sized("")).await.unwrap();
        waiting[i].take().unwrap().await.unwrap().unwrap();
    }
    assert_eq!(dials.dialed(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_pool_timeout_strikes_while_a_body_is_held_and_the_body_goes_on() {
    let (upstream, _dials, mut peers) = by_hand(1, Timeouts::default().pool(ms(700)));
    let held = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
        .await
        .unwrap();
    let body = held.await.unwrap().unwrap().into_body();
    let start = Instant::now();
    let error = upstream.get(URI).await.unwrap_err();
    let took = start.elapsed();
    assert_eq!(
        (error.kind(), error.phase()),
        (ErrorKind::PoolTimeout, Some(Phase::Pool))
    );
    assert!(!error.was_sent(), "it never had a connection");
    assert!((ms(700)..ms(703)).contains(&took), "after {took:?}");
    assert_eq!(upstream.stats().timed_out(Phase::Pool), 1);
    peer.write("cd").await.unwrap();
    assert_eq!(body.text(10).await.unwrap(), "abcd");
}

#[tokio::test(start_paused = true)]
async fn a_pool_timeout_of_zero_succeeds_where_nobody_has_to_wait() {
    let dials = Dials::answering(sized("x"));
    let upstream = dials
        .builder()
        .limits(Limits::new().max_connections(1))
        .timeouts(Timeouts::default().pool(Duration::ZERO))
        .build()
        .unwrap();
    let held = upstream.get(URI).await.expect("a dial is no wait");
    let start = Instant::now();
    let error = upstream.get(URI).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolTimeout);
    assert!(start.elapsed() < ms(3), "it fails at once");
    held.into_body().bytes(10).await.unwrap();
    tokio::task::yield_now().await;
    upstream.get(URI).await.expect("an idle one is no wait");
}

#[tokio::test(start_paused = true)]
async fn one_more_than_may_wait_is_refused_at_once() {
    let dials = Dials::answering(sized("x"));
    let limits = Limits::new().max_connections(1).max_pending(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let held = upstream.get(URI).await.unwrap();
    let waiting = tokio::spawn(upstream.get(URI));
    tokio::task::yield_now().await;
    let error = upstream.get(URI).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase(), error.was_sent()),
        (ErrorKind::QueueFull, Some(Phase::Pool), false)
    );
    held.into_body().bytes(10).await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_does_not_start_the_pool_deadline_again() {
    let (upstream, _dials, mut peers) = by_hand(2, Timeouts::default().pool(ms(1000)));
    let warm = [(); 2].map(|()| tokio::spawn(upstream.get(URI)));
    let mut both = [peers.recv().await.unwrap(), peers.recv().await.unwrap()];
    for peer in &mut both {
        peer.request().await.unwrap();
        peer.write(sized("")).await.unwrap();
    }
    join_all(warm).await;
    let start = Instant::now();
    let [first, second] = [(); 2].map(|()| tokio::spawn(upstream.get(URI)));
    for peer in &mut both {
        peer.request().await.unwrap();
    }
    // Both die under their requests, and there is room for one of these alone.
    upstream
        .set_limits(Limits::new().max_connections(1))
        .unwrap();
    sleep(ms(800)).await;
    drop(both);
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    let error = second.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolTimeout);
    assert!(error.was_sent(), "it was, before it waited again");
    let took = start.elapsed();
    assert!((ms(1000)..ms(1003)).contains(&took), "after {took:?}");
    peer.write(sized("")).await.unwrap();
    first.await.unwrap().unwrap();
}

/// A request on its way over a connection that has served before, and one that waits for it.
async fn one_sent_and_one_waiting(
    upstream: &Upstream,
    peers: &mut Peers,
) -> (Peer<DuplexStream>, [JoinHandle<Result<String, Error>>; 2]) {
    let get = |path: &str| {
        let response = upstream.get(format!("{URI}{path}"));
        tokio::spawn(async move { response.await?.into_body().text(10).await })
    };
    let warm = get("warm");
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(sized("warm")).await.unwrap();
    warm.await.unwrap().unwrap();
    let first = get("first");
    assert_eq!(peer.request().await.unwrap().unwrap().path(), "/first");
    let second = get("second");
    sleep(ms(1)).await;
    (peer, [first, second])
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_connection_died_keeps_its_turn() {
    let (upstream, _dials, mut peers) = by_hand(1, patient());
    let (peer, requests) = one_sent_and_one_waiting(&upstream, &mut peers).await;
    drop(peer);
    let mut peer = peers.recv().await.unwrap();
    for path in ["/first", "/second"] {
        let request = peer.request().await.unwrap().unwrap();
        assert_eq!(request.path(), path, "what came first is served first");
        peer.write(sized(path)).await.unwrap();
    }
    let answers = join_all(requests).await;
    let answers = answers.into_iter().map(|answer| answer.unwrap().unwrap());
    assert_eq!(answers.collect::<Vec<_>>(), ["/first", "/second"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_a_request_whose_connection_died_be_tried_again() {
    let (upstream, _dials, mut peers) = by_hand(1, patient());
    let (peer, requests) = one_sent_and_one_waiting(&upstream, &mut peers).await;
    let drained = tokio::spawn({
        let upstream = upstream.clone();
        async move { upstream.drain(ms(1000)).await }
    });
    sleep(ms(1)).await;
    drop(peer);
    let mut peer = peers.recv().await.unwrap();
    for _ in &requests {
        peer.request().await.unwrap().unwrap();
        peer.write(sized("late")).await.unwrap();
    }
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().unwrap(), "late", "it was in flight before");
    }
    assert_eq!(drained.await.unwrap().aborted, 0, "nothing had to be cut");
}
