//! gRPC's deadlines, and tonic's clients over the handle.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
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
use tonic::{
    Code, Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tower::ServiceExt;
use tower_upstream::{ErrorKind, GrpcDeadline, Limits, Origin, Upstream};

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

/// Messages as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// What a generated client does.
async fn unary(
    origin: &Origin,
    path: &'static str,
    timeout: Option<Duration>,
) -> Result<Bytes, Status> {
    let upstream = Upstream::builder().build().unwrap();
    let mut client = tonic::client::Grpc::new(upstream.at(origin.clone()));
    client.ready().await.map_err(Status::from)?;
    let mut request = tonic::Request::new(Bytes::from("hello"));
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let path = http::uri::PathAndQuery::from_static(path);
    let response = client.unary(request, path, Raw).await?;
    Ok(response.into_inner())
}

#[tokio::test]
async fn tonics_clients_are_told_what_happened_in_grpcs_terms() {
    let backend = Backend::start().await;
    let answer = unary(&backend.origin, "/test/short", None).await.unwrap();
    assert_eq!(answer, "hi");

    let timeout = Some(Duration::from_millis(100));
    for path in ["/test/silent", "/test/stalled"] {
        let status = unary(&backend.origin, path, timeout).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{path}: {status:?}");
    }

    let dead = "http://127.0.0.1:1".parse().unwrap();
    let status = unary(&dead, "/test/short", None).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(
        status.message(),
        "upstream refused the connection",
        "and not where that is"
    );
}
