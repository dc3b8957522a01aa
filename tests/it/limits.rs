//! tower's limits, held to the end of the body, on a real server.

use std::convert::Infallible;

use axum::{
    Router, body::Body, error_handling::HandleErrorLayer, extract::Request, http::StatusCode,
    response::Response, routing::get,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{
    BoxError, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer,
};
use tower_upstream::limit::UntilBodyEndLayer;

use crate::wire::{Client, Streams, serve};

fn app(streams: &Streams) -> Router {
    let streams = streams.clone();
    Router::new()
        .route("/stream", get(async move || streams.response()))
        .route("/short", get(async || "short"))
}

#[tokio::test]
async fn a_client_that_leaves_makes_room_for_the_next() {
    let streams = Streams::default();
    let limit = UntilBodyEndLayer::new(GlobalConcurrencyLimitLayer::new(1));
    let address = serve(app(&streams).layer(limit)).await;

    let mut first = Client::get(address, "/stream").await;
    first.until("begun").await;
    let mut second = Client::get(address, "/stream").await;
    drop(first);
    second.until("begun").await;
    drop(second);
    let mut other = Client::get(address, "/short").await;
    assert!(
        other.until("short").await.contains("200 OK"),
        "the limit is one for all routes, and needs no HandleErrorLayer"
    );
    assert_eq!(streams.peak(), 1, "never were two bodies open at once");
}

#[tokio::test]
async fn idle_connections_hold_no_permit() {
    let limit = UntilBodyEndLayer::new(GlobalConcurrencyLimitLayer::new(1));
    let address = serve(app(&Streams::default()).layer(limit)).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut client = Client::get(address, "/short").await;
        client.until("short").await;
        idle.push(client);
    }
    let mut client = Client::get(address, "/short").await;
    assert!(
        client.until("short").await.contains("200 OK"),
        "two hundred kept-alive connections leave the one permit free"
    );
}

#[tokio::test]
async fn load_is_shed_while_a_body_streams() {
    let streams = Streams::default();
    let limit = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(1));
    let shed = HandleErrorLayer::new(async |_: BoxError| StatusCode::TOO_MANY_REQUESTS);
    let stack = ServiceBuilder::new()
        .layer(shed)
        .layer(UntilBodyEndLayer::new(limit));
    let address = serve(app(&streams).layer(stack)).await;

    let mut first = Client::get(address, "/stream").await;
    first.until("begun").await;
    for _ in 0..3 {
        let head = Client::get(address, "/stream").await.head().await;
        assert!(head.contains(" 429 "), "there is no room: {head}");
    }
    drop(first);
    // The server hears of the client's leaving in its own time.
    loop {
        let head = Client::get(address, "/short").await.head().await;
        if head.contains(" 200 ") {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Switches to a protocol that sends everything back.
async fn echo(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async {
        let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let mut byte = [0];
        while io.read_exact(&mut byte).await.is_ok() {
            io.write_all(&byte).await.unwrap();
        }
    });
    let head = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    head.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn an_upgraded_connection_holds_no_permit() {
    let limit = UntilBodyEndLayer::new(GlobalConcurrencyLimitLayer::new(1));
    let app = app(&Streams::default()).route("/echo", get(echo));
    let address = serve(app.layer(limit)).await;

    let mut upgraded = Client::connect(address).await;
    let headers = "connection: upgrade\r\nupgrade: echo\r\n";
    upgraded.send("/echo", headers).await;
    assert!(upgraded.head().await.contains(" 101 "));
    let mut other = Client::get(address, "/short").await;
    assert!(other.until("short").await.contains("200 OK"));
    upgraded.send("/again", "").await;
    assert!(
        upgraded.head().await.starts_with("GET /again"),
        "the connection is still in use, as another protocol"
    );
}

#[test]
fn the_error_of_a_limit_that_waits_is_that_of_the_service() {
    fn errors<L>(_: L)
    where
        L: tower::Layer<axum::routing::Route>,
        L::Service: tower::Service<Request, Error = Infallible> + Clone + Send + Sync,
    {
    }
    errors(UntilBodyEndLayer::new(GlobalConcurrencyLimitLayer::new(1)));
}
