//! What becomes of a connection whose response is dropped before its end.

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::sleep;
use tower_upstream::{RemainderPolicy, Timeouts};

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
