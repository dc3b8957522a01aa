//! Clients that speak HTTP/2.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{sleep, timeout},
};
use tower_upstream::{Limits, Upstream};

use super::support::{Echo, PATIENCE, axum, forward, forward_http1, lines};
use crate::support::{Server, eventually, sized};

type Body =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, hyper::Error>>>>;

async fn connect(front: SocketAddr) -> http2::SendRequest<Body> {
    let socket = TcpStream::connect(front).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn body(frames: Vec<Frame<Bytes>>) -> Body {
    let frames: Vec<_> = frames.into_iter().map(Ok).collect();
    StreamBody::new(futures_util::stream::iter(frames))
}

async fn ask(front: SocketAddr, request: http::request::Builder) -> Response<Incoming> {
    let request = request.body(body(vec![])).unwrap();
    let answer = connect(front).await.send_request(request);
    timeout(PATIENCE, answer).await.unwrap().unwrap()
}

#[tokio::test]
async fn i5_an_authority_that_is_not_the_host_is_refused() {
    let echo = Echo::start().await;
    let front = axum(echo.forward()).await;
    for (uri, host) in [
        ("http://a/", "b"),
        ("http://a,b/", "a,b"),
        ("http://u@a/", "a"),
    ] {
        let response = ask(front, Request::get(uri).header("host", host)).await;
        assert_eq!(response.status(), 400, "{uri} at {host}");
    }
    assert_eq!(echo.take().len(), 0);
    let response = ask(front, Request::get("http://a/x")).await;
    assert_eq!(response.status(), 200);
    let request = echo.one();
    assert_eq!(
        lines(&request.head, "x-forwarded-host"),
        ["a"],
        "it was asked for in :authority"
    );
    assert!(
        lines(&request.head, "via")[0].starts_with("2 "),
        "{}",
        request.head
    );
    echo.over().await;
}

#[tokio::test]
async fn cookies_in_pieces_are_made_one_for_http1() {
    let echo = Echo::start().await;
    let request = Request::get("http://a/")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    ask(axum(echo.forward()).await, request).await;
    assert_eq!(lines(&echo.one().head, "cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn j3_what_is_illegal_in_http2_never_comes_out() {
    let echo = Echo::saying(|_| {
        b"HTTP/1.1 200 OK\r\nconnection: keep-alive, x\r\nkeep-alive: timeout=5\r\nx: 1\r\n\
          transfer-encoding: chunked\r\nproxy-connection: x\r\nupgrade: h2c\r\nte: trailers\r\n\r\n0\r\n\r\n"
            .to_vec()
    })
    .await;
    let response = ask(axum(echo.forward()).await, Request::get("http://a/")).await;
    assert_eq!(response.status(), 200);
    let mut names: Vec<_> = response
        .headers()
        .keys()
        .map(|name| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["date", "via"], "only what is end to end");
    echo.over().await;
}

#[tokio::test]
async fn trailers_pass_from_http2_to_http1_and_back() {
    let echo = Echo::saying(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 7\r\n\r\n".to_vec()
    })
    .await;
    let front = axum(echo.forward()).await;
    let request = Request::post("http://a/").header("te", "trailers");
    let answer = ask(front, request)
        .await
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "7");
    assert_eq!(lines(&echo.one().head, "te"), ["trailers"]);
}

#[tokio::test]
async fn a_grpc_stream_that_breaks_off_ends_in_a_status() {
    let server = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.write(
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 9\r\n\r\nhalf",
        )
        .await
    })
    .await;
    let front = axum(forward_http1(&server)).await;
    let request = |kind| Request::post("http://a/").header("content-type", kind);

    let answer = ask(front, request("application/grpc+proto")).await;
    let answer = answer.into_body().collect().await.unwrap();
    let trailers: &HeaderMap = answer.trailers().expect("it ends in trailers");
    assert_eq!(trailers["grpc-status"], "14");
    assert_eq!(trailers["grpc-message"], "upstream response broke off");

    let answer = ask(front, request("text/plain")).await;
    let end = answer.into_body().collect().await;
    assert!(end.is_err(), "any other is reset, or it would look whole");
}

#[tokio::test]
async fn g11_a_stream_that_is_reset_is_dropped_upstream() {
    let events = Arc::new([Notify::new(), Notify::new()]);
    let server = Server::start({
        let events = events.clone();
        move |mut peer| {
            let events = events.clone();
            async move {
                peer.request().await?;
                events[0].notify_one();
                peer.closed().await;
                events[1].notify_one();
                Ok(())
            }
        }
    })
    .await;
    let front = axum(forward(&server)).await;
    let mut sender = connect(front).await;
    let request = Request::get("http://a/").body(body(vec![])).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    timeout(PATIENCE, events[0].notified()).await.unwrap();
    answer.abort();
    let told = timeout(Duration::from_secs(2), events[1].notified()).await;
    assert!(told.is_ok(), "long before any timeout");
}

#[tokio::test]
async fn i10_streams_that_are_reset_at_once_leave_nothing_behind() {
    let server = Server::answering(|_| async {
        sleep(Duration::from_millis(5)).await;
        sized("ok")
    })
    .await;
    let limits = Limits::new().max_connections(4);
    let upstream = Upstream::builder().limits(limits).build().unwrap();
    let front = axum(upstream.forward_to(server.uri("/").parse().unwrap())).await;
    for _ in 0..5 {
        // In fewer numbers than those for which hyper's server itself ends the connection.
        let mut sender = connect(front).await;
        for _ in 0..50 {
            let request = Request::get("http://a/").body(body(vec![])).unwrap();
            let answer = tokio::spawn(sender.send_request(request));
            tokio::task::yield_now().await;
            answer.abort();
        }
    }
    eventually("every place is free again", || {
        let total = upstream.stats().total;
        total.in_use + total.waiting + total.connecting == 0
    })
    .await;
    assert!(
        server.peak() <= 4 && upstream.stats().peak <= 4,
        "the cap holds"
    );
    let response = ask(front, Request::get("http://a/")).await;
    assert_eq!(response.status(), 200);
}

/// An upstream that speaks HTTP/2 alone: it sends back what it is sent, piece by piece, and then the
/// trailers that came.
async fn echo_http2() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let echo = hyper::service::service_fn(async |request: Request<Incoming>| {
                let mut response = Response::new(());
                for name in ["te", "content-type", "via", "x-forwarded-host"] {
                    if let Some(value) = request.headers().get(name) {
                        let name = http::HeaderName::from_bytes(format!("seen-{name}").as_bytes());
                        response.headers_mut().insert(name.unwrap(), value.clone());
                    }
                }
                let authority = request.uri().authority().unwrap().as_str().to_owned();
                response
                    .headers_mut()
                    .insert("seen-authority", authority.try_into().unwrap());
                Ok::<_, std::convert::Infallible>(response.map(|()| request.into_body()))
            });
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http.serve_connection(TokioIo::new(socket), echo));
        }
    });
    address
}

#[tokio::test]
async fn a_grpc_call_streams_both_ways_over_http2() {
    let backend = echo_http2().await;
    let forward =
        super::support::upstream().forward_to(format!("http://{backend}").parse().unwrap());
    let front = axum(forward.name("edge")).await;

    let (mut messages, body) = http_body_util::channel::Channel::<Bytes, hyper::Error>::new(1);
    let socket = TcpStream::connect(front).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a.test/package.Service/Method")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let response = timeout(PATIENCE, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    let head = response.headers().clone();
    assert_eq!(head["seen-te"], "trailers");
    assert_eq!(head["seen-authority"], *backend.to_string());
    assert_eq!(head["seen-x-forwarded-host"], "a.test");
    assert_eq!(head["seen-via"], "2 edge");
    assert_eq!(head["via"], "2 edge");

    let mut answer = response.into_body();
    for message in ["one", "two"] {
        messages.send_data(Bytes::from(message)).await.unwrap();
        let frame = timeout(PATIENCE, answer.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(
            frame.into_data().unwrap(),
            message,
            "while the request goes on"
        );
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".try_into().unwrap());
    trailers.insert("content-length", "3".try_into().unwrap());
    messages.send_trailers(trailers).await.unwrap();
    drop(messages);
    let end = timeout(PATIENCE, answer.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let trailers = end.into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers.len(), 1, "those that may not be there are not");
}
