//! What becomes of a connection whose response is dropped before its end.

use std::sync::Arc;

use futures_util::future::poll_immediate;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::sleep;
use tower::{Service, service_fn};
use tower_upstream::{RemainderPolicy, Timeouts, Upstream};

use crate::support::{
    chunked,
    dials::{Dials, URI, by_hand},
    ms, sized,
};

#[tokio::test(start_paused = true)]
async fn a_dropped_rest_is_read_on_within_its_bounds_only() {
    // The pieces, the pause before the last of them, and whether the connection is kept.
    for (pieces, pause, kept) in [
        (vec![100, 1000], 40, true),
        (vec![100, 1000], 60, false),
        (vec![100, 60_000], 0, true),
        (vec![100, 40_000, 40_000], 0, false),
    ] {
        let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
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
    let (upstream, _dials, mut peers) = by_hand(1, Timeouts::default());
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

#[tokio::test(start_paused = true)]
async fn a_rest_has_no_longer_on_a_connection_that_was_idle_before() {
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
    let first = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    first.await.unwrap().unwrap();
    sleep(ms(1)).await;
    let cut = tokio::spawn(upstream.get(URI));
    peer.request().await.unwrap();
    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        .await
        .unwrap();
    drop(cut.await.unwrap().unwrap());
    sleep(ms(49)).await;
    assert_eq!(dials.open(), 1, "it has its time");
    sleep(ms(2)).await;
    assert_eq!(
        dials.open(),
        0,
        "though the connection could be idle for longer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_is_of_no_use_is_not_waited_for() {
    let bounded = RemainderPolicy::new().max_bytes(4);
    let close = "connection: close\r\n";
    // Another field, the rest that is to come, and whether it is waited for.
    for (policy, field, rest, waits) in [
        (bounded, "", 4, true),
        (bounded, "", 5, false),
        (bounded, close, 4, false),
        (RemainderPolicy::close(), "", 4, false),
    ] {
        let (dials, mut peers) = Dials::by_hand();
        let upstream = dials.builder().remainder(policy).build().unwrap();
        let response = tokio::spawn(upstream.get(URI));
        let mut peer = peers.recv().await.unwrap();
        peer.request().await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\n{field}content-length: {rest}\r\n\r\n");
        peer.write(head).await.unwrap();
        drop(response.await.unwrap().unwrap());
        sleep(ms(1)).await;
        let sentence = format!("{rest} bytes under {policy:?} with {field:?}");
        assert_eq!(dials.open() == 1, waits, "{sentence}");
        let closed = upstream.stats().cut_and_closed;
        assert_eq!(closed == 0, waits, "{sentence}");
        if waits {
            peer.write("rest").await.unwrap();
            sleep(ms(1)).await;
            assert_eq!(upstream.stats().cut_and_reused, 1, "{sentence}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_its_connection_has_not_come_to_keeps_nothing_alive() {
    let (dials, mut peers) = Dials::by_hand();
    let held = Arc::new(());
    let (inner, kept) = (dials.clone(), held.clone());
    let connector = service_fn(move |uri| {
        let _ = &kept;
        inner.clone().call(uri)
    });
    let upstream = Upstream::builder().connector(connector).build().unwrap();
    let response = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        .await
        .unwrap();
    let mut body = response.await.unwrap().unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert!(
        poll_immediate(body.frame()).await.is_none(),
        "more is wanted"
    );
    // Both before the connection's driver runs, which ends then, with the rest left to it.
    drop(peer);
    drop(body);
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0);
    drop(upstream);
    sleep(ms(1)).await;
    assert_eq!(
        Arc::strong_count(&held),
        1,
        "the pool is gone, connector and all"
    );
}
