//! `UpstreamLayer` under axum and under bare hyper.

use std::convert::Infallible;

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::{BoxError, Layer, Service, ServiceBuilder, service_fn};
use tower_upstream::{Upstream, UpstreamLayer, UpstreamServiceBody};

use crate::wire::{Client, Streams, serve};

fn layer() -> UpstreamLayer {
    UpstreamLayer::new(Upstream::builder().build().unwrap())
}

fn app(streams: &Streams) -> Router {
    let streams = streams.clone();
    Router::new()
        .route("/stream", get(async move || streams.response()))
        .route("/short", get(async |_: Upstream| "short"))
}

#[tokio::test]
async fn routes_share_one_budget_and_the_rest_is_told_when_to_return() {
    let streams = Streams::default();
    let layer = layer().max_in_flight(1).max_pending(0);
    let address = serve(app(&streams).layer(layer)).await;

    let mut first = Client::get(address, "/stream").await;
    first.until("begun").await;
    for path in ["/stream", "/short"] {
        let mut refused = Client::get(address, path).await;
        let response = refused.until("requests are waiting").await;
        assert!(response.contains(" 503 "), "{path}: {response}");
        assert!(response.contains("retry-after: 1"), "{path}: {response}");
        refused.send(path, "").await;
        assert!(
            refused.head().await.contains(" 503 "),
            "a refused connection is kept, and refused again"
        );
    }
    let mut refused = Client::connect(address).await;
    let grpc = "content-type: application/grpc+proto\r\n";
    refused.send("/package.Service/Method", grpc).await;
    let head = refused.head().await;
    assert!(
        head.contains("200 OK") && head.contains("grpc-status: 8"),
        "{head}"
    );
}

#[tokio::test]
async fn who_waits_is_served_when_a_body_is_over() {
    let streams = Streams::default();
    let address = serve(app(&streams).layer(layer().max_in_flight(1))).await;
    let mut first = Client::get(address, "/stream").await;
    first.until("begun").await;
    let mut second = Client::get(address, "/stream").await;
    drop(first);
    second.until("begun").await;
    assert_eq!(streams.peak(), 1, "never were two bodies open at once");
}

#[tokio::test]
async fn it_may_stand_on_a_route_and_twice_in_a_stack() {
    let streams = Streams::default();
    let one = get(async |_: Upstream| "one").layer(layer().max_in_flight(1));
    let stack = ServiceBuilder::new()
        .layer(layer().max_in_flight(2))
        .layer(layer().max_in_flight(1));
    let app = app(&streams).layer(stack).route("/one", one);
    let address = serve(app).await;
    for (path, end) in [("/one", "one"), ("/short", "short")] {
        for _ in 0..3 {
            let response = Client::get(address, path).await.until(end).await;
            assert!(response.contains("200 OK"), "{path}: {response}");
        }
    }
}

#[tokio::test]
async fn bare_hyper_serves_it() {
    let streams = Streams::default();
    let handler = {
        let streams = streams.clone();
        service_fn(move |request: http::Request<hyper::body::Incoming>| {
            assert!(request.extensions().get::<Upstream>().is_some());
            std::future::ready(Ok::<_, Infallible>(streams.response()))
        })
    };
    let service = layer().max_in_flight(1).max_pending(0).layer(handler);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            tokio::spawn(connection);
        }
    });

    let mut first = Client::get(address, "/").await;
    first.until("begun").await;
    let head = Client::get(address, "/").await.head().await;
    assert!(head.contains(" 503 "), "there is no room: {head}");
    assert_eq!(streams.peak(), 1);
}

#[test]
fn it_is_what_tonic_asks_of_a_layer() {
    fn fits<L, B>(_: L)
    where
        L: Layer<axum::routing::Route> + Clone,
        L::Service: Service<Request, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request>>::Future: Send,
        <L::Service as Service<Request>>::Error: Into<BoxError> + Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
    }
    fits::<_, UpstreamServiceBody<Body>>(layer().max_in_flight(1));
}
