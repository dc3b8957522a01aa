//! gRPC-Web: over tonic's own translation, on either side of it.

use std::convert::Infallible;

use axum::{Router, response::IntoResponse};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tonic_web::{GrpcWebClientLayer, GrpcWebLayer};
use tower::{Layer, Service};
use tower_upstream::{Origin, Upstream, UpstreamLayer};

use super::words::{Scripted, WordsClient, WordsServer, client, origin, server, text};
use crate::wire;

fn strict() -> UpstreamLayer {
    let upstream = Upstream::builder().build().unwrap();
    UpstreamLayer::new(upstream).max_in_flight(1).max_pending(0)
}

/// By axum, which speaks HTTP/1.1 too.
async fn serve<S>(words: S) -> Origin
where
    S: Service<axum::extract::Request, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    let app = Router::new().route_service("/words.Words/{*method}", words);
    origin(wire::serve(app).await)
}

fn words() -> WordsServer<Scripted> {
    server(Scripted::default())
}

fn upstream() -> Upstream {
    Upstream::builder().build().unwrap()
}

/// What a browser sends, and what comes back: the head, and the body as text.
async fn ask(origin: &Origin) -> (http::response::Parts, String) {
    let request = Request::post(format!("{origin}/words.Words/Count"))
        .header("content-type", "application/grpc-web+proto")
        .header("accept", "application/grpc-web+proto")
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\x05\x0a\x03a b")))
        .unwrap();
    let (head, body) = upstream().send(request).await.unwrap().into_parts();
    let body = body.bytes(1000).await.unwrap();
    (head, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn within_the_translation_a_refusal_is_a_status() {
    let origin = serve(GrpcWebLayer::new().layer(strict().layer(words()))).await;

    let (head, body) = ask(&origin).await;
    assert_eq!(head.status, StatusCode::OK);
    assert!(body.contains("grpc-status:0"), "admitted: {body:?}");

    let mut other = client(&upstream(), &origin);
    let _first = other.split(text("one stall")).await.unwrap();
    let (head, body) = ask(&origin).await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.headers["content-type"], "application/grpc-web+proto");
    assert_eq!(head.headers["grpc-status"], "8", "{head:?} {body:?}");
}

#[tokio::test]
async fn outside_the_translation_a_refusal_is_http() {
    let origin = serve(strict().layer(GrpcWebLayer::new().layer(words()))).await;

    let (head, body) = ask(&origin).await;
    assert_eq!(head.status, StatusCode::OK);
    assert!(body.contains("grpc-status:0"), "admitted: {body:?}");

    let mut other = client(&upstream(), &origin);
    let _first = other.split(text("one stall")).await.unwrap();
    let (head, body) = ask(&origin).await;
    // Which gRPC-Web's clients take for UNAVAILABLE.
    assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(head.headers["retry-after"], "1");
    assert_eq!(body, "too many requests are waiting");
}

#[tokio::test]
async fn a_generated_client_may_speak_it_over_the_handle() {
    let origin = serve(GrpcWebLayer::new().layer(words())).await;

    let upstream = upstream();
    let channel = GrpcWebClientLayer::new().layer(upstream.at(origin.clone()));
    let mut client = WordsClient::new(channel);
    let count = client.count(text("a b")).await.unwrap();
    assert_eq!(count.into_inner().number, 2);
    let mut split = client.split(text("a b fail")).await.unwrap().into_inner();
    for word in ["a", "b"] {
        assert_eq!(split.message().await.unwrap().unwrap().text, word);
    }
    let status = split.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DataLoss, "from the last frame");
}
