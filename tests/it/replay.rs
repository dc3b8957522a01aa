//! What is sent once more when the connection it was sent on dies, and what is not.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http::{Method, Request};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{io::AsyncWriteExt, time::sleep};
use tower_upstream::{ErrorKind, Timeouts, Upstream};

use crate::support::{
    Server,
    dials::{Dials, URI, by_hand, text},
    eventually, http2, ms, sized,
};

/// The upstream closes at the very moment at which a second request is on its way.
async fn closes_at_reuse(
    second: Request<String>,
    resend: bool,
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
    let builder = dials.builder().resend_idempotent(resend);
    let upstream = builder.build().unwrap();
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
        let (result, dialed) = closes_at_reuse(request(method, ""), true).await;
        assert_eq!(result.unwrap(), if is_head { "" } else { "again" });
        assert_eq!(dialed, 2, "once, on a fresh connection");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_already_is_not_sent_again() {
    for (method, body) in [(Method::POST, ""), (Method::POST, "x"), (Method::PUT, "x")] {
        let (result, dialed) = closes_at_reuse(request(method, body), true).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Closed, true));
        assert_eq!(dialed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_where_the_handle_is_told_so() {
    let (result, dialed) = closes_at_reuse(request(Method::GET, ""), false).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Closed, true));
    assert_eq!(dialed, 1);
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
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
    let first = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    first.await.unwrap().unwrap();
    sleep(ms(1)).await;
    // The connection has the request before its driver hears of the close.
    drop(peer);
    let body = StreamBody::new(stream::iter([Ok::<_, Infallible>(Frame::data(
        Bytes::from_static(b"once"),
    ))]));
    let post = upstream.send(Request::post(URI).body(body).unwrap());
    let (response, ()) = tokio::join!(post, async {
        let mut peer = peers.recv().await.unwrap();
        assert_eq!(peer.request().await.unwrap().unwrap().body, b"once");
        peer.write(sized("")).await.unwrap();
    });
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(dials.dialed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_sent_over_http1_goes_over_http2_as_it_was_made() {
    const URI: &str = "https://in.process/path";
    let (dials, mut peers) = Dials::by_hand();
    let dials = dials.http2_from(1);
    let upstream = dials.builder().build().unwrap();
    let first = tokio::spawn(upstream.get(URI));
    let mut peer = peers.recv().await.unwrap();
    peer.request().await.unwrap();
    peer.write(sized("")).await.unwrap();
    first.await.unwrap().unwrap();
    sleep(ms(1)).await;
    drop(peer);
    let (response, head) = tokio::join!(upstream.get(URI), async {
        let mut peer = http2::accept(peers.recv().await.unwrap()).await.unwrap();
        let call = peer.call().await.unwrap();
        let head = call.head.uri.clone();
        call.answer();
        tokio::spawn(async move { peer.run().await });
        head
    });
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(head, URI, "with its scheme, its host and its path");
}

#[tokio::test(start_paused = true)]
async fn a_request_to_which_an_answer_has_begun_is_not_sent_again() {
    let dials = Dials::to(|mut peer| async move {
        peer.request().await?;
        peer.write(sized("first")).await?;
        peer.request().await?;
        peer.write("HTTP/1.1 200 OK\r\n").await
    });
    let upstream = dials.builder().build().unwrap();
    text(&upstream).await;
    sleep(ms(1)).await;
    let error = upstream.get(URI).await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Closed, true));
    assert_eq!(dials.dialed(), 1);
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
    join_all(requests).await;
    eventually("every socket is closed", || server.open() == 0).await;
    assert_eq!(upstream.stats().total.open, 0);
}
