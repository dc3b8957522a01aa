//! A request's own timing, for whoever asks for it.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tokio::{
    io::DuplexStream,
    time::{Instant, sleep},
};
use tower_upstream::{ErrorKind, Limits, Timeouts, Timing, Upstream};

use crate::support::{Peer, dials::Dials, sized};

const URI: &str = "http://in.process/";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Opens in 30 ms; answers each request with a head after 20 ms and the body after 40 more.
fn upstream() -> Upstream {
    let (inner, mut peers) = Dials::by_hand();
    tokio::spawn(async move {
        while let Some(peer) = peers.recv().await {
            tokio::spawn(answer(peer));
        }
    });
    let dials = Dials::new(move |uri| {
        let opening = tower::ServiceExt::oneshot(inner.clone(), uri);
        async move {
            sleep(ms(30)).await;
            opening.await.map(hyper_util::rt::TokioIo::new)
        }
    });
    let builder = dials.builder().limits(Limits::new().max_connections(1));
    builder.timeouts(Timeouts::new(ms(500))).build().unwrap()
}

async fn answer(mut peer: Peer<DuplexStream>) {
    while let Ok(Some(_)) = peer.request().await {
        sleep(ms(20)).await;
        let response = sized("a page");
        let (head, body) = response.split_at(response.len() - 6);
        peer.write(head).await.unwrap();
        sleep(ms(40)).await;
        // The client may have left.
        let _ = peer.write(body).await;
    }
}

fn timed() -> (Request<String>, Timing) {
    let timing = Timing::new();
    let request = Request::get(URI).extension(timing.clone());
    (request.body(String::new()).unwrap(), timing)
}

#[tokio::test(start_paused = true)]
async fn it_tells_of_the_wait_the_dial_the_head_and_the_end() {
    let upstream = upstream();
    let (first, of_first) = timed();
    let (second, of_second) = timed();
    assert_eq!(
        of_first.waited(),
        None,
        "nothing is known before it is sent"
    );
    let sending = upstream.send(first);
    let first = tokio::spawn(async { sending.await.unwrap().into_body().text(9).await });
    let start = Instant::now();
    tokio::task::yield_now().await;
    let response = upstream.send(second).await.unwrap();

    assert_eq!(first.await.unwrap().unwrap(), "a page");
    assert_eq!(of_first.waited(), Some(ms(0)), "a slot was free");
    assert_eq!(of_first.connected(), Some(ms(30)));
    assert_eq!(of_first.reused(), Some(false));
    assert_eq!(of_first.head_after(), Some(ms(50)));
    assert_eq!(of_first.ended_after(), Some(ms(90)));

    assert_eq!(
        of_second.waited(),
        Some(ms(90)),
        "until the first one's body had ended"
    );
    assert_eq!(of_second.connected(), None);
    assert_eq!(of_second.reused(), Some(true));
    assert_eq!(of_second.head_after(), Some(ms(110)));
    assert_eq!(of_second.ended_after(), None, "its body has not come");
    assert_eq!(start.elapsed(), ms(110));
    drop(response);
    assert_eq!(of_second.ended_after(), Some(ms(110)), "a drop is an end");
}

#[tokio::test(start_paused = true)]
async fn a_response_has_it_if_the_request_asked_for_it() {
    let upstream = upstream();
    let response = upstream.get(URI).await.unwrap();
    assert!(response.extensions().is_empty(), "nobody asked");
    response.into_body().text(9).await.unwrap();

    let (request, timing) = timed();
    let response = upstream.send(request).await.unwrap();
    let found = response.extensions().get::<Timing>().unwrap().clone();
    let mut body = response.into_body();
    assert_eq!(found.ended_after(), None);
    body.frame().await.unwrap().unwrap();
    assert_eq!(
        found.ended_after(),
        Some(ms(60)),
        "the last frame is the end"
    );
    assert_eq!(timing.ended_after(), Some(ms(60)), "they are one");
}

#[tokio::test(start_paused = true)]
async fn it_tells_of_requests_that_fail_or_are_dropped() {
    let upstream = upstream();
    let held = upstream.get(URI).await.unwrap();

    let (request, timing) = timed();
    let error = upstream.send(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolTimeout);
    assert_eq!(timing.waited(), Some(ms(500)), "as long as it was let");
    assert_eq!(timing.reused(), None, "it never had a connection");
    assert_eq!(timing.head_after(), None);
    assert_eq!(timing.ended_after(), Some(ms(500)));

    let (request, timing) = timed();
    tokio::time::timeout(ms(70), upstream.send(request))
        .await
        .unwrap_err();
    assert_eq!(timing.waited(), Some(ms(70)));
    assert_eq!(timing.ended_after(), Some(ms(70)));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_polls_ends_for_it_at_the_total_timeout() {
    let upstream = upstream();
    let (mut request, timing) = timed();
    let timeouts = Timeouts::new(ms(500)).total(ms(80));
    request.extensions_mut().insert(timeouts);
    let response = upstream.send(request).await.unwrap();
    sleep(ms(200)).await;
    assert_eq!(timing.head_after(), Some(ms(50)));
    assert_eq!(timing.ended_after(), Some(ms(80)));
    let error = response.into_body().text(9).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TotalTimeout);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_with_the_same_one_begins_anew() {
    let upstream = upstream();
    let (request, timing) = timed();
    let again = request.clone();
    upstream
        .send(request)
        .await
        .unwrap()
        .into_body()
        .text(9)
        .await
        .unwrap();
    sleep(ms(1000)).await;
    let response = upstream.send(again).await.unwrap();
    assert_eq!(timing.head_after(), Some(ms(20)));
    assert_eq!(timing.connected(), None, "that was the first time");
    assert_eq!(timing.ended_after(), None);
    drop(response);
}
