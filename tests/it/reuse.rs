//! Which connections are used again.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::sleep;
use tower_upstream::{CloseCause, Limits, Timeouts, Upstream};

use crate::support::{
    Server,
    dials::{Dials, URI, by_hand, text},
    ms, sized,
};

#[tokio::test(start_paused = true)]
async fn what_the_upstream_closes_is_forgotten_without_a_request() {
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
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
    let (upstream, dials, mut peers) = by_hand(1, Timeouts::default());
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
