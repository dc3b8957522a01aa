//! The extractor, and the error as a response.

use axum::{Router, routing::get};
use tower_upstream::{Error, ErrorKind, Origin, Upstream, UpstreamLayer};

use crate::{
    support::{Server, chunked},
    wire::{Client, serve},
};

#[tokio::test]
async fn without_the_layer_the_response_says_what_to_add() {
    let app = Router::new().route("/", get(async |_: Upstream| "never"));
    let mut client = Client::get(serve(app).await, "/").await;
    let response = client.until("routes that ask for it").await;
    assert!(response.contains("500 Internal Server Error"), "{response}");
    assert!(
        response.contains("add `UpstreamLayer`"),
        "the cure is named: {response}"
    );
}

#[tokio::test]
async fn with_the_layer_the_handler_calls_its_upstream() {
    let server = Server::answering(|_| async { chunked(["from ", "upstream"]) }).await;
    let uri = server.uri("/");
    let handler = async move |upstream: Upstream| {
        let response = upstream.get(uri.as_str()).await?;
        response.into_body().text(100).await
    };
    let upstream = Upstream::builder().build().unwrap();
    let app = Router::new()
        .route("/", get(handler))
        .layer(UpstreamLayer::new(upstream.clone()));
    let mut client = Client::get(serve(app).await, "/").await;
    let response = client.until("from upstream").await;
    assert!(response.contains("200 OK"), "{response}");
    assert_eq!(
        upstream.stats().opened,
        1,
        "the handler's handle is the one that was given to the layer"
    );
}

#[tokio::test]
async fn an_error_is_a_response_that_tells_its_kind_only() {
    async fn failing() -> Result<(), Error> {
        "ftp://internal/?token=secret".parse::<Origin>()?;
        Ok(())
    }
    let app = Router::new().route("/", get(failing));
    let mut client = Client::get(serve(app).await, "/").await;
    let kind = ErrorKind::InvalidTarget.to_string();
    let response = client.until(&kind).await;
    assert!(response.contains("400 Bad Request"), "{response}");
    assert!(response.contains("text/plain; charset=utf-8"), "{response}");
    assert!(
        !response.contains("internal") && !response.contains("secret"),
        "the client learns nothing of the inside: {response}"
    );
}
