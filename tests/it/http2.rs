//! HTTP/2 upstreams: many streams on few connections.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tower_upstream::{ErrorKind, Limits, Phase, Timeouts, Upstream};

use crate::{
    support::{eventually, sockets},
    wire,
};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server that speaks HTTP/2 by prior knowledge, with so many streams a connection.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// The most requests that were ever answered at once.
    peak: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

pub(crate) async fn serve<F, Fut>(max_streams: u32, answer: F) -> Server
where
    F: Fn(Request<hyper::body::Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, peak) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (count, high) = (accepted.clone(), peak.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let now = Arc::<AtomicUsize>::default();
        let mut connections = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let (answer, now, high) = (answer.clone(), now.clone(), high.clone());
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let (answer, now, high) = (answer.clone(), now.clone(), high.clone());
                    async move {
                        high.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let response = answer(request).await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(response)
                    }
                });
                let _ = http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(max_streams)
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    Server {
        address,
        accepted,
        peak,
        _tasks: tasks,
    }
}

impl Server {
    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

pub(crate) fn full(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

fn client(limits: Limits) -> Upstream {
    Upstream::builder()
        .limits(limits)
        .http2_prior_knowledge()
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_burst_to_a_new_origin_makes_one_dial_and_shares_its_connection() {
    let server = serve(200, |request: Request<_>| async move {
        sleep(Duration::from_millis(20)).await;
        full(request.uri().path().to_owned())
    })
    .await;
    let upstream = client(Limits::new());
    let texts = join_all((0..80).map(|i| {
        let response = upstream.get(server.uri(&format!("/{i}")));
        async move { response.await.unwrap().into_body().text(100).await.unwrap() }
    }))
    .await;
    for (i, text) in texts.iter().enumerate() {
        assert_eq!(*text, format!("/{i}"), "each request gets its own answer");
    }
    assert_eq!(server.accepted(), 1, "one dial serves the burst");
    assert_eq!(upstream.stats().total.idle, 1);
}

#[tokio::test]
async fn streams_stay_within_the_peers_limit_and_a_second_connection_comes_when_the_first_is_full()
{
    let server = serve(5, |_| async {
        sleep(Duration::from_millis(20)).await;
        full("x")
    })
    .await;
    let upstream = client(Limits::new().max_connections(2));
    let requests = (0..100).map(|_| {
        let response = upstream.get(server.uri("/"));
        async move { response.await.unwrap().into_body().text(100).await.unwrap() }
    });
    assert_eq!(join_all(requests).await.len(), 100);
    assert_eq!(server.accepted(), 2, "the second connection, and no third");
    let peak = server.peak.load(Ordering::SeqCst);
    assert!(
        peak <= 10,
        "five streams on each of two connections, and not {peak}"
    );
    assert_eq!(upstream.stats().peak, 2);
}

#[tokio::test]
async fn a_single_stream_at_a_time_serves_a_hundred_requests() {
    let server = serve(1, |_| async { full("x") }).await;
    let upstream = client(Limits::new().max_connections(1));
    let requests = (0..100).map(|_| {
        let response = upstream.get(server.uri("/"));
        async move { response.await.unwrap().into_body().text(100).await.unwrap() }
    });
    assert_eq!(join_all(requests).await.len(), 100);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_dropped_exchange_resets_its_stream_and_keeps_the_connection() {
    let server = serve(100, |request: Request<_>| async move {
        match request.uri().path() {
            "/never" => std::future::pending().await,
            "/endless" => {
                let chunks = stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![0; 16_384]))));
                Response::new(StreamBody::new(chunks).boxed_unsync())
            }
            _ => full("x"),
        }
    })
    .await;
    let upstream = client(Limits::new().max_connections(1));
    for path in ["/never", "/endless", "/small"] {
        let response =
            tokio::time::timeout(Duration::from_millis(50), upstream.get(server.uri(path))).await;
        drop(response);
        eventually("the stream is given back", || {
            upstream.stats().total.in_use == 0
        })
        .await;
    }
    let text = upstream
        .get(server.uri("/"))
        .await
        .unwrap()
        .into_body()
        .text(10)
        .await
        .unwrap();
    assert_eq!(text, "x");
    assert_eq!(server.accepted(), 1, "one connection has outlived them all");
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_up_no_other() {
    let server = serve(100, |request: Request<_>| async move {
        match request.uri().path() {
            "/large" => full(vec![0; 4 << 20]),
            _ => full("x"),
        }
    })
    .await;
    let upstream = client(Limits::new().max_connections(1));
    let stalled = join_all((0..30).map(|_| upstream.get(server.uri("/large")))).await;
    let text = upstream
        .get(server.uri("/"))
        .await
        .unwrap()
        .into_body()
        .text(10)
        .await
        .unwrap();
    assert_eq!(text, "x", "the thirty-first stream gets through");
    drop(stalled);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn an_upload_that_the_upstream_does_not_take_is_a_write_timeout() {
    let server = serve(100, |request: Request<_>| async move {
        // Its body is never read, so its window is never opened again.
        let _held = request;
        std::future::pending().await
    })
    .await;
    let upstream = Upstream::builder()
        .http2_prior_knowledge()
        .timeouts(Timeouts::new(Duration::from_secs(20)).write(Duration::from_millis(100)))
        .build()
        .unwrap();
    let request = Request::post(server.uri("/"))
        .body(Full::new(Bytes::from(vec![0; 64 << 20])))
        .unwrap();
    let error = upstream.send(request).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase()),
        (ErrorKind::WriteTimeout, Some(Phase::Write)),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_upstream_that_speaks_no_http2_fails_the_dial() {
    let server = crate::support::Server::start(|mut peer| async move {
        peer.head().await?;
        peer.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let upstream = client(Limits::new());
    let error = upstream.get(server.uri("/")).await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Connect), "{error:?}");
    assert!(!error.was_sent());
    eventually("the socket is closed", || {
        sockets::connected_to(server.address) == 0
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_is_spoken_to_in_two_protocols_is_one_origin_in_the_stats() {
    let address = wire::serve(Router::new().fallback(async || "hello")).await;
    let upstream = Upstream::builder().build().unwrap();
    for content_type in ["text/plain", "application/grpc"] {
        let request = Request::post(format!("http://{address}/"))
            .header("content-type", content_type)
            .body(String::new())
            .unwrap();
        let response = upstream.send(request).await.unwrap();
        response.into_body().bytes(100).await.unwrap();
    }
    eventually("each protocol has left a connection", || {
        upstream.stats().total.idle == 2
    })
    .await;
    let [(_, gauges)] = upstream.stats().origins[..] else {
        panic!("listed once: {:?}", upstream.stats().origins)
    };
    assert_eq!((gauges.open, gauges.idle), (2, 2), "with both");
}
