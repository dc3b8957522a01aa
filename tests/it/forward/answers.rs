//! Ordinary traffic: what a user expects of a proxy.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use tower::ServiceExt;
use tower_upstream::{Error, ErrorKind, Limits, Upstream};

use super::support::{Echo, fronts, lines, send, status};

async fn ask(front: std::net::SocketAddr, method: &str, lines: &str) -> String {
    let request = format!("{method} /x HTTP/1.1\r\nhost: a\r\n{lines}connection: close\r\n\r\n");
    send(front, request).await
}

#[tokio::test]
async fn a_head_request_and_a_304_have_the_length_and_no_body() {
    let echo = Echo::saying(|request| match request.method() {
        "HEAD" => b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_vec(),
        "DELETE" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n".to_vec(),
    })
    .await;
    for front in fronts(echo.forward()).await {
        let response = ask(front, "HEAD", "").await;
        assert_eq!(lines(&response, "content-length"), ["1234"]);
        assert!(response.ends_with("\r\n\r\n"), "{response}");

        let response = ask(front, "GET", "if-none-match: \"x\"\r\n").await;
        assert_eq!(status(&response), "304");
        assert_eq!(lines(&response, "etag"), ["\"x\""]);

        let response = ask(front, "DELETE", "").await;
        assert_eq!(status(&response), "204");
        assert!(response.ends_with("\r\n\r\n"), "{response}");
    }
}

#[tokio::test]
async fn a_body_keeps_its_framing() {
    let echo = Echo::start().await;
    for front in fronts(echo.forward()).await {
        ask(front, "POST", "content-length: 0\r\n").await;
        let request = echo.one();
        assert_eq!(lines(&request.head, "content-length"), ["0"]);

        ask(front, "POST", "").await;
        let request = echo.one();
        assert_eq!(
            lines(&request.head, "content-length"),
            ["0"],
            "it is said that there is none"
        );

        let body = "transfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nhello\r\n0\r\n";
        ask(front, "POST", body).await;
        let request = echo.one();
        assert_eq!(lines(&request.head, "transfer-encoding"), ["chunked"]);
        assert_eq!(request.body, b"hello");
    }
}

#[tokio::test]
async fn in_this_process_a_request_is_checked_as_if_it_had_come_by_wire() {
    let echo = Echo::start().await;
    let post = || Request::post("/x").header("host", "a");
    let body = || Full::new(Bytes::from("hello"));
    for (request, words) in [
        (
            post().header("content-length", "3"),
            "the request's body is not as long as its Content-Length",
        ),
        (
            post()
                .header("content-length", "5")
                .header("transfer-encoding", "chunked"),
            "the request has both Content-Length and Transfer-Encoding",
        ),
        (Request::post("/x"), "the request has no Host"),
    ] {
        let request = request.body(body()).unwrap();
        let response = echo.forward().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 400, "{words}");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, words);
    }
    assert_eq!(echo.take().len(), 0);
    for request in [post().header("content-length", "5"), post()] {
        let request = request.body(body()).unwrap();
        assert_eq!(echo.forward().oneshot(request).await.unwrap().status(), 200);
        let request = echo.one();
        assert_eq!(request.body, b"hello");
        assert_eq!(
            lines(&request.head, "content-length"),
            ["5"],
            "a length that is known is stated"
        );
    }
}

#[tokio::test]
async fn a_failure_is_in_the_extensions_for_the_log() {
    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(1).max_pending(0))
        .build()
        .unwrap();
    let echo = Echo::start().await;
    let forward = upstream.forward_to(echo.server.uri("/").parse().unwrap());
    upstream.drain(std::time::Duration::ZERO).await;
    let request = Request::get("http://a/").body(String::new()).unwrap();
    let response = forward.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(
        response.headers()["connection"],
        "close",
        "the client had better go elsewhere"
    );
    let kind = response.extensions().get().map(Error::kind);
    assert_eq!(kind, Some(ErrorKind::Draining));
}

#[tokio::test]
async fn a_body_over_a_limit_in_front_is_a_413() {
    let echo = Echo::start().await;
    let body = Limited::new(Full::new(Bytes::from("hello")), 3);
    let request = Request::post("http://a/").body(body).unwrap();
    let response = echo.forward().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(echo.take().len(), 0, "what is cut off never looks complete");
}

#[tokio::test]
async fn a_body_that_fails_by_itself_is_no_413() {
    let echo = Echo::start().await;
    let broken = stream::iter([Err::<Frame<Bytes>, _>(io::Error::other("broken"))]);
    let request = Request::post("http://a/").body(StreamBody::new(broken));
    let response = echo.forward().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 400);
    let kind = response.extensions().get().map(Error::kind);
    assert_eq!(kind, Some(ErrorKind::RequestBody));
    assert_eq!(echo.take().len(), 0);
}

#[tokio::test]
async fn what_is_the_proxys_own_to_answer_has_a_status_for_either_kind_of_client() {
    let echo = Echo::start().await;
    let forward = echo.forward().proxy_status(true);
    for (method, status, grpc_status, is_failure) in
        [("TRACE", 501, "12", true), ("OPTIONS", 200, "0", false)]
    {
        let asked = || {
            let request = Request::builder().method(method).uri("http://a/");
            request.header("max-forwards", "0")
        };
        let request = asked().body(String::new()).unwrap();
        let response = forward.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{method}");
        let is_told = response.headers().contains_key("proxy-status");
        assert_eq!(is_told, is_failure, "{method}");
        let request = asked().header("content-type", "application/grpc");
        let request = request.body(String::new()).unwrap();
        let response = forward.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], grpc_status, "{method}");
    }
    assert_eq!(echo.take().len(), 0);
}
