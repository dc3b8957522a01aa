//! The `total` timeout: one time for head and body, whether or not anybody reads.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tower_upstream::{ErrorKind, Timeouts, Upstream};

use crate::support::{Server, chunked, eventually, sized};

const TOTAL: Duration = Duration::from_millis(200);

fn upstream() -> Upstream {
    Upstream::builder()
        .timeouts(Timeouts::new(Duration::from_secs(20)).total(TOTAL))
        .build()
        .unwrap()
}

/// Sends a head and a first piece, and then nothing.
async fn unfinished() -> Server {
    Server::start(|mut peer| async move {
        while peer.request().await?.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst")
                .await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_a_total_timeout() {
    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let upstream = upstream();
    let error = upstream.get(server.uri("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TotalTimeout);
    assert!(error.was_sent());
    eventually("the connection is closed", || {
        upstream.stats().total.open == 0
    })
    .await;
    assert_eq!(upstream.stats().timed_out_total, 1);
}

#[tokio::test]
async fn a_body_that_does_not_end_in_time_fails_with_what_had_come_before() {
    let server = unfinished().await;
    let upstream = upstream();
    let mut body = upstream.get(server.uri("/")).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TotalTimeout);
    assert!(body.frame().await.is_none(), "after its error it is empty");
    eventually("the connection is closed", || {
        upstream.stats().total.open == 0
    })
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_polls_loses_its_connection_in_time() {
    let server = unfinished().await;
    let upstream = upstream();
    let body = upstream.get(server.uri("/")).await.unwrap().into_body();
    assert_eq!(upstream.stats().total.in_use, 1);
    eventually("the connection is closed", || {
        upstream.stats().total.open == 0
    })
    .await;
    let error = body.bytes(1000).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::TotalTimeout,
        "and whoever reads it then is told why"
    );
}

#[tokio::test]
async fn an_exchange_that_ends_in_time_is_left_alone() {
    let server = Server::answering(|_| async { chunked(["a", "b"]) }).await;
    let upstream = upstream();
    for _ in 0..3 {
        let body = upstream.get(server.uri("/")).await.unwrap().into_body();
        assert_eq!(body.text(10).await.unwrap(), "ab");
    }
    tokio::time::sleep(2 * TOTAL).await;
    assert_eq!(upstream.stats().total.idle, 1, "its connection lives on");
    assert_eq!(upstream.stats().timed_out_total, 0);
}

#[tokio::test]
async fn a_requests_own_timeouts_take_the_place_of_the_handles() {
    let server = Server::answering(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        sized("x")
    })
    .await;
    let upstream = Upstream::builder().build().unwrap();
    let own = Timeouts::default().total(Duration::from_millis(5));
    let request = Request::get(server.uri("/"))
        .extension(own)
        .body(String::new())
        .unwrap();
    let error = upstream.send(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TotalTimeout);
    let text = upstream
        .get(server.uri("/"))
        .await
        .unwrap()
        .into_body()
        .text(10)
        .await;
    assert_eq!(
        text.unwrap(),
        "x",
        "the next request has the handle's again"
    );
}
