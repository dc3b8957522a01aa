//! Whatever is dropped, wherever it was, gives back what it held.

use std::{io, time::Duration};

use futures_util::{FutureExt, StreamExt, stream};
use http::Request;
use http_body_util::BodyExt;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tower_upstream::{Limits, Timeouts, Upstream};

use crate::support::{
    Server, chunked,
    dials::{Dials, Peers, URI, by_hand},
    eventually, ms, sized,
};

/// The one slot is free: the next request gets it at once.
async fn assert_free(upstream: &Upstream, peers: &mut Peers) {
    let request = tokio::spawn(upstream.get(URI));
    let mut peer = timeout(ms(100), peers.recv())
        .await
        .expect("the slot is free")
        .unwrap();
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    request.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_dialled_before_the_first_poll() {
    let (upstream, dials, _peers) = by_hand(1, Timeouts::default());
    let request = upstream.get(URI);
    sleep(ms(1)).await;
    assert_eq!(dials.dialed(), 0, "a future does nothing by itself");
    drop(request);
    assert_eq!(upstream.stats().total.open, 0);
}

#[tokio::test(start_paused = true)]
async fn during_the_dial_it_is_the_pools_and_serves_the_next() {
    let dials = Dials::new(|_| async {
        sleep(ms(500)).await;
        Ok(tokio::io::duplex(100).0)
    });
    let limits = Limits::new().max_connections(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let request = tokio::spawn(upstream.get(URI));
    sleep(ms(100)).await;
    request.abort();
    sleep(ms(1)).await;
    assert_eq!((dials.open(), upstream.stats().total.waiting), (1, 0));
    // Its other end is gone, so it ends as soon as it is there.
    sleep(ms(500)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dial_nobody_waits_for_any_more_ends_in_an_idle_connection() {
    let (dials, mut peers) = Dials::by_hand();
    let upstream = dials.builder().build().unwrap();
    let mut request = upstream.get(URI);
    assert!((&mut request).now_or_never().is_none());
    drop(request);
    let mut peer = peers.recv().await.unwrap();
    sleep(ms(1)).await;
    assert_eq!(upstream.stats().total.idle, 1);
    let request = tokio::spawn(upstream.get(URI));
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    request.await.unwrap().unwrap();
    assert_eq!(dials.dialed(), 1, "the next request uses it");
}

#[tokio::test(start_paused = true)]
async fn while_the_head_is_awaited_the_connection_is_closed() {
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
    let request = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    request.abort();
    sleep(ms(1)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
    assert_free(&upstream, &mut peers).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_request_is_written_no_more_of_it_goes_out() {
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
    let request = Request::post(URI).body("x".repeat(1 << 20)).unwrap();
    let request = tokio::spawn(upstream.send(request));
    let mut peer = peers.recv().await.unwrap();
    peer.head().await.unwrap();
    request.abort();
    sleep(ms(1)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
    assert!(peer.drain(1 << 20).await.is_err(), "it breaks off");
    assert_free(&upstream, &mut peers).await;
}

#[tokio::test(start_paused = true)]
async fn within_the_body_the_slot_is_back_when_its_rest_has_been_given_up() {
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
    let request = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab")
        .await
        .unwrap();
    let mut body = request.await.unwrap().unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    sleep(ms(60)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
    assert_free(&upstream, &mut peers).await;
}

#[tokio::test(start_paused = true)]
async fn two_at_a_cap_of_one_that_leave_at_once_leave_the_slot_free() {
    for polls in 0..20 {
        let (upstream, _dials, mut peers) = by_hand(1, Timeouts::default());
        let requests = [(); 2].map(|()| tokio::spawn(upstream.get(URI)));
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
        for request in &requests {
            request.abort();
        }
        sleep(ms(1)).await;
        // An idle connection or none: either way the next is served.
        let stats = upstream.stats().total;
        assert_eq!((stats.in_use, stats.waiting), (0, 0), "after {polls}");
        let request = tokio::spawn(upstream.get(URI));
        let served = async {
            loop {
                let mut peer = peers.recv().await.unwrap();
                while let Ok(Some(_)) = peer.request().await {
                    let _ = peer.write(sized("")).await;
                }
            }
        };
        tokio::select! {
            response = request => assert!(response.unwrap().is_ok(), "after {polls}"),
            () = served => {}
            () = sleep(ms(1000)) => panic!("nobody is served after {polls}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_granted_connection_that_nobody_takes_goes_to_the_next() {
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
    let first = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    // Polled once, and so in the queue, but never again.
    let mut stalled = Box::pin(upstream.get(URI));
    assert!((&mut stalled).now_or_never().is_none());
    let third = tokio::spawn(upstream.get(format!("{URI}third")));
    sleep(ms(1)).await;
    peer.write(sized("")).await.unwrap();
    first.await.unwrap().unwrap();
    sleep(ms(1)).await;
    drop(stalled);
    assert_eq!(peer.request().await.unwrap().unwrap().path(), "/third");
    peer.write(sized("")).await.unwrap();
    third.await.unwrap().unwrap();
    assert_eq!(dials.dialed(), 1, "it is none the worse for it");
}

#[tokio::test]
async fn after_any_mix_of_cancellations_everything_is_there_again() {
    let server = Server::answering(|request| async move {
        sleep(Duration::from_millis(request.path().len() as u64 % 4)).await;
        chunked(["some ", "text"])
    })
    .await;
    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(10))
        .build()
        .unwrap();
    let churn = stream::iter(0..400_u64).for_each_concurrent(20, |i| {
        let upstream = upstream.clone();
        let uri = server.uri(&format!("/{}", "x".repeat((i % 7) as usize)));
        async move {
            let exchange = async {
                let response = upstream.get(uri).await?;
                response.into_body().bytes(100).await
            };
            // Real time, so that the points at which they stop differ.
            let _ = timeout(Duration::from_micros(i * 7919 % 6000), exchange).await;
        }
    });
    churn.await;
    eventually("nothing is in use", || {
        let stats = upstream.stats().total;
        stats.in_use + stats.waiting + stats.connecting + stats.closing == 0
    })
    .await;
    let start = Instant::now();
    for _ in 0..20 {
        let response = upstream.get(server.uri("/")).await.unwrap();
        response.into_body().bytes(100).await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(upstream.stats().peak <= 10);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_after_its_request_has_left_frees_its_slot() {
    let dials = Dials::new(|_| async {
        sleep(ms(500)).await;
        Err::<TcpStream, _>(io::ErrorKind::ConnectionRefused.into())
    });
    let upstream = dials
        .builder()
        .timeouts(Timeouts::default())
        .build()
        .unwrap();
    let request = tokio::spawn(upstream.get(URI));
    sleep(ms(100)).await;
    request.abort();
    sleep(ms(500)).await;
    assert_eq!((dials.open(), upstream.stats().total.open), (0, 0));
    assert_eq!(upstream.stats().connect_failed, 1);
}
