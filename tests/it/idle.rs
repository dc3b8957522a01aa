//! For how long a connection is kept that nobody uses.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tower_upstream::{CloseCause, Limits, Timeouts};

use crate::support::{
    dials::{Dials, URI, by_hand, text},
    http2, ms, sized,
};

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
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
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
async fn a_stream_that_is_open_when_its_connections_idle_time_would_be_over_goes_on() {
    let dials = Dials::to(|peer| async move {
        let mut peer = http2::accept(peer).await?;
        peer.call().await.unwrap().answer();
        let slow = peer.call().await.unwrap();
        tokio::select! {
            () = peer.run() => {}
            () = sleep(ms(4000)) => slow.answer(),
        }
        peer.run().await;
        Ok(())
    });
    let upstream = dials.builder().http2_prior_knowledge().build().unwrap();
    text(&upstream).await;
    sleep(ms(2000)).await;
    text(&upstream).await;
    assert_eq!(dials.dialed(), 1);
    sleep(ms(3990)).await;
    assert_eq!(dials.open(), 1, "and is idle from its end on");
    sleep(ms(20)).await;
    assert_eq!(dials.open(), 0);
}
