//! One exchange: what is sent, what comes back, and how it fails.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tokio::io::BufStream;
use tower_upstream::{ErrorKind, Limits, Phase, Timeouts, Upstream};

use crate::support::{
    Server, chunked,
    dials::{Dials, text},
    eventually, sized, sockets,
};

#[tokio::test]
async fn a_request_goes_out_in_origin_form_with_a_host_and_its_body() {
    let server = Server::answering(|request| async move {
        sized(format!(
            "{}|{}",
            request.head.lines().next().unwrap(),
            String::from_utf8_lossy(&request.body)
        ))
    })
    .await;
    let upstream = Upstream::builder().build().unwrap();
    let request = Request::put(server.uri("/a?b=c"))
        .body("hello".to_owned())
        .unwrap();
    let response = upstream.send(request).await.unwrap();
    let text = response.into_body().text(1000).await.unwrap();
    assert_eq!(text, "PUT /a?b=c HTTP/1.1|hello");
}

#[tokio::test]
async fn what_stands_right_behind_the_host_leaves_the_request_a_path() {
    let server =
        Server::answering(|request| async move { sized(request.head.lines().next().unwrap()) })
            .await;
    let upstream = Upstream::builder().build().unwrap();
    for (behind, path) in [("", "/"), ("#part", "/"), ("?a", "/?a"), ("?a#part", "/?a")] {
        let uri = format!("http://{}{behind}", server.address);
        let response = upstream.get(uri).await.unwrap();
        let text = response.into_body().text(1000).await.unwrap();
        assert_eq!(text, format!("GET {path} HTTP/1.1"), "of {behind:?}");
    }
}

#[tokio::test]
async fn a_connection_is_reused_once_its_body_has_been_read() {
    let server = Server::answering(|_| async { chunked(["a", "b"]) }).await;
    let upstream = Upstream::builder().build().unwrap();
    for _ in 0..20 {
        let body = upstream.get(server.uri("/")).await.unwrap().into_body();
        assert_eq!(body.text(10).await.unwrap(), "ab");
        eventually("the connection comes back", || {
            upstream.stats().total.idle == 1
        })
        .await;
    }
    assert_eq!(
        server.accepted(),
        1,
        "twenty requests in a row share one connection"
    );
    assert_eq!(upstream.stats().reused, 19);
}

#[tokio::test]
async fn waiters_share_the_cap_and_all_are_served() {
    let server = Server::answering(|_| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        sized("x")
    })
    .await;
    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(3))
        .build()
        .unwrap();
    let requests = (0..60).map(|_| {
        let response = upstream.get(server.uri("/"));
        async move { response.await.unwrap().into_body().text(10).await.unwrap() }
    });
    let texts = futures_util::future::join_all(requests).await;
    assert_eq!(texts.len(), 60);
    assert_eq!(upstream.stats().peak, 3, "the cap is used and held");
    assert_eq!(sockets::connected_to(server.address), 3);
}

#[tokio::test]
async fn a_dropped_rest_is_read_on_when_it_is_small_and_closed_when_it_is_large() {
    let server = Server::answering(|request| async move {
        let size = request.path()[1..].parse().unwrap();
        sized(vec![b'x'; size])
    })
    .await;
    let upstream = Upstream::builder().build().unwrap();
    for (size, opened) in [(60_000, 1), (60_000, 1), (70_000, 1), (60_000, 2)] {
        let response = upstream.get(server.uri(&format!("/{size}"))).await.unwrap();
        drop(response);
        eventually("the exchange is over", || {
            upstream.stats().total.in_use == 0
        })
        .await;
        assert_eq!(upstream.stats().opened, opened, "after a rest of {size}");
    }
}

#[tokio::test]
async fn a_read_timeout_names_its_phase_and_closes_the_connection() {
    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let upstream = Upstream::builder()
        .timeouts(Timeouts::default().read(Duration::from_millis(50)))
        .build()
        .unwrap();
    let error = upstream.get(server.uri("/")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase()),
        (ErrorKind::ReadTimeout, Some(Phase::Read))
    );
    assert!(error.was_sent());
    eventually("the socket is closed", || server.open() == 0).await;
    assert_eq!(upstream.stats().total.open, 0);
}

#[tokio::test]
async fn a_body_of_known_length_goes_out_with_its_length_and_another_in_chunks() {
    let server =
        Server::answering(|request| async move { sized(request.head.to_lowercase()) }).await;
    let upstream = Upstream::builder().build().unwrap();
    let known = Request::post(server.uri("/"))
        .body("hello".to_owned())
        .unwrap();
    let head = upstream
        .send(known)
        .await
        .unwrap()
        .into_body()
        .text(1000)
        .await
        .unwrap();
    assert!(head.contains("content-length: 5"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>("a"), Ok("b")]);
    let unknown = axum::body::Body::from_stream(pieces);
    let unknown = Request::post(server.uri("/")).body(unknown).unwrap();
    let head = upstream
        .send(unknown)
        .await
        .unwrap()
        .into_body()
        .text(1000)
        .await
        .unwrap();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
}

#[tokio::test]
async fn what_has_come_of_a_response_is_read_at_once() {
    // The size of hyper's buffer at first; it grows to what a connection brings.
    const AT_FIRST: usize = 8 * 1024;
    let page = vec![b'x'; 7 * AT_FIRST];
    let answer = sized(&page);
    let server = Server::answering(move |_| std::future::ready(answer.clone())).await;
    let upstream = Upstream::builder().build().unwrap();
    let mut largest = 0;
    for _ in 0..30 {
        let response = upstream.get(server.uri("/")).await.unwrap();
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        largest = largest.max(first.len());
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!(first.len() + rest.len(), page.len());
    }
    assert_eq!(upstream.stats().opened, 1, "by one connection");
    assert!(
        largest > 2 * AT_FIRST,
        "the first piece was {largest} bytes"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_connector_buffers_is_sent_all_the_same() {
    let dials = Dials::answering(sized("x")).through(BufStream::new);
    let upstream = dials.builder().build().unwrap();
    assert_eq!(text(&upstream).await, "x");
}
