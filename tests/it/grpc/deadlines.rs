//! How long a call may take: `grpc-timeout`, passed on as what is left, and kept.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tonic::Code;
use tower::ServiceExt;
use tower_upstream::{ErrorKind, GrpcDeadline, Limits, Origin, Upstream};

use super::words::{Scripted, client, serve, text};

/// An upstream that answers each method in its own way, and keeps the timeouts it was told.
struct Backend {
    origin: Origin,
    told: Arc<Mutex<Vec<String>>>,
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let told = Arc::<Mutex<Vec<_>>>::default();
        let shared = told.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let told = shared.clone();
                let service =
                    hyper::service::service_fn(move |request| answer(request, told.clone()));
                let http = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self {
            origin: format!("http://{address}").parse().unwrap(),
            told,
        }
    }

    /// The one timeout that has been told, in microseconds.
    fn told(&self) -> u64 {
        let told = self.told.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        match told[0].split_at(told[0].len() - 1) {
            (value, "u") => value.parse().unwrap(),
            (value, "n") => value.parse::<u64>().unwrap() / 1000,
            other => panic!("{other:?}"),
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    told: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Body>, Infallible> {
    if let Some(timeout) = request.headers().get("grpc-timeout") {
        told.lock()
            .unwrap()
            .push(timeout.to_str().unwrap().to_owned());
    }
    let path = request.uri().path().to_owned();
    let message = Bytes::from_static(b"\0\0\0\0\x02hi");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let body = match path.as_str() {
        "/test/silent" => std::future::pending().await,
        "/test/stalled" => {
            let stalled = futures_util::stream::pending();
            let begun = futures_util::stream::iter([Ok(Frame::data(message))]);
            StreamBody::new(futures_util::StreamExt::chain(begun, stalled)).boxed_unsync()
        }
        _ => Full::new(message)
            .with_trailers(async { Some(Ok(trailers)) })
            .boxed_unsync(),
    };
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(body).unwrap())
}

fn call(path: &str, timeout: &str) -> Request<String> {
    Request::post(format!("http://front.test{path}"))
        .header("content-type", "application/grpc+proto")
        .header("grpc-timeout", timeout)
        .version(http::Version::HTTP_2)
        .body(String::new())
        .unwrap()
}

#[tokio::test]
async fn a_deadline_is_passed_on_as_what_is_left_and_kept() {
    let backend = Backend::start().await;
    let forward = Upstream::builder()
        .build()
        .unwrap()
        .forward_to(backend.origin.clone());
    let begun = Instant::now();
    let response = forward.oneshot(call("/test/silent", "150m")).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(response.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
    assert!(took >= Duration::from_millis(150), "not before: {took:?}");
    let told = backend.told();
    assert!(
        (1..150_000).contains(&told),
        "the upstream was told {told} microseconds"
    );
}

#[tokio::test]
async fn a_deadline_is_kept_over_the_body_too() {
    let backend = Backend::start().await;
    let forward = Upstream::builder()
        .build()
        .unwrap()
        .forward_to(backend.origin.clone());
    let response = forward
        .oneshot(call("/test/stalled", "150m"))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "4");
    assert_eq!(body.to_bytes().len(), 7, "after the message that had come");
}

#[tokio::test]
async fn the_wait_for_a_connection_counts() {
    let backend = Backend::start().await;
    let limits = Limits::new()
        .max_connections(1)
        .max_streams_per_connection(1);
    let upstream = Upstream::builder().limits(limits).build().unwrap();
    let forward = upstream.forward_to(backend.origin.clone());
    let first = forward
        .clone()
        .oneshot(call("/test/stalled", "10S"))
        .await
        .unwrap();
    backend.told.lock().unwrap().clear();
    let second = tokio::spawn(forward.oneshot(call("/test/short", "10S")));
    sleep(Duration::from_millis(100)).await;
    drop(first);
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
    let told = backend.told();
    assert!(told <= 9_900_000, "{told} microseconds are left");
}

#[tokio::test]
async fn a_deadline_in_the_extensions_bounds_any_request() {
    let server = crate::support::Server::start(|mut peer| async move {
        peer.request().await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let mut request = Request::get(server.uri("/")).body(String::new()).unwrap();
    let deadline = GrpcDeadline::after(Duration::from_millis(50));
    request.extensions_mut().insert(deadline);
    let upstream = Upstream::builder().build().unwrap();
    let error = upstream.send(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TotalTimeout);
}

#[tokio::test]
async fn tonics_clients_are_told_what_happened_in_grpcs_terms() {
    let words = serve(Scripted::default()).await;
    let upstream = Upstream::builder().build().unwrap();
    let mut client = client(&upstream, &words);
    let in_time = |words: &str| {
        let mut request = tonic::Request::new(text(words));
        request.set_timeout(Duration::from_millis(200));
        request
    };
    let status = client.count(in_time("stall")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    let mut split = client
        .split(in_time("one stall"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(split.message().await.unwrap().unwrap().text, "one");
    let status = split.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");

    let dead = "http://127.0.0.1:1".parse().unwrap();
    let mut client = super::words::client(&upstream, &dead);
    let status = client.count(text("one")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(
        status.message(),
        "upstream refused the connection",
        "and not where that is"
    );
}
