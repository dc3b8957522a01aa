//! What tells of a cut behind the head, and what a length that is wrong would do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{convert::Infallible, net::SocketAddr};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tower_upstream::Truncate;

type Exchange = Result<(HeaderMap, Bytes, Option<HeaderMap>), hyper::Error>;

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Chunks, an error if `fails`, and trailers of the whole.
fn page(headers: &[(&'static str, &'static str)], fails: bool) -> axum::response::Response {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let mut frames: Vec<_> = ["abc", "def"]
        .map(|chunk| Ok(Frame::data(Bytes::from(chunk))))
        .into();
    frames.push(if fails {
        Err("gone")
    } else {
        Ok(Frame::trailers(trailers))
    });
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    let mut response = axum::response::Response::builder().header("content-type", "text/plain");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap()
}

fn pages() -> Router {
    Router::new()
        .route(
            "/chunked",
            get(async || page(&[("trailer", "x-sum")], false)),
        )
        .route("/silent", get(async || page(&[], false)))
        .route(
            "/stated",
            get(async || page(&[("content-length", "6")], false)),
        )
        .route("/fails", get(async || page(&[], true)))
}

fn request(path: &str, te: Option<&str>) -> Request<Empty<Bytes>> {
    let mut request = Request::builder()
        .uri(format!("http://test{path}"))
        .header("host", "test");
    if let Some(te) = te {
        request = request.header("te", te);
    }
    request.body(Empty::new()).unwrap()
}

async fn read(response: Result<http::Response<Incoming>, hyper::Error>) -> Exchange {
    let (head, body) = response?.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok((head.headers, body.to_bytes(), trailers))
}

async fn ask1(address: SocketAddr, path: &str, te: Option<&str>) -> Exchange {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    read(sender.send_request(request(path, te)).await).await
}

async fn ask2(address: SocketAddr, path: &str) -> Exchange {
    let socket = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(socket);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    read(sender.send_request(request(path, None)).await).await
}

#[tokio::test]
async fn http1_sends_a_trailer_only_if_it_is_asked_for_announced_and_framed_in_chunks() {
    // Rows 12, 43, 45 and 46: hyper drops it silently where one of the three is missing.
    let bare = serve(pages()).await;
    let (_, _, trailers) = ask1(bare, "/chunked", Some("trailers")).await.unwrap();
    assert!(trailers.is_some(), "asked for and announced, it is sent");
    for (path, te) in [("/chunked", None), ("/silent", Some("trailers"))] {
        let (_, _, trailers) = ask1(bare, path, te).await.unwrap();
        assert!(trailers.is_none(), "{path}, {te:?}: it is dropped");
    }

    let cut = serve(pages().layer(Truncate::bytes(4).layer())).await;
    for path in ["/chunked", "/silent"] {
        let (headers, body, trailers) = ask1(cut, path, Some("trailers")).await.unwrap();
        assert_eq!(body, "abcd", "{path} is cut");
        assert!(
            headers.contains_key("transfer-encoding"),
            "{path} is framed in chunks"
        );
        let trailers = trailers.expect("ours is sent");
        assert_eq!(
            trailers["content-truncated"], "length;limit=4;unit=byte",
            "{path} was cut"
        );
        let (_, body, trailers) = ask1(cut, path, None).await.unwrap();
        assert_eq!(body, "abcd", "{path} is cut");
        assert!(
            trailers.is_none(),
            "{path}: without being asked for none is sent"
        );
    }
    let (headers, body, _) = ask1(cut, "/stated", Some("trailers")).await.unwrap();
    assert_eq!(body, "abcd", "a stated length is cut");
    assert_eq!(headers["content-length"], "4", "and stays stated");
    let told = &headers["content-truncated"];
    assert_eq!(told, "length;limit=4;unit=byte;size=6", "the header tells");
}

#[tokio::test]
async fn http2_has_trailers_always() {
    // Rows 43 and 47.
    let cut = serve(pages().layer(Truncate::bytes(4).layer())).await;
    let (_, body, trailers) = ask2(cut, "/silent").await.unwrap();
    assert_eq!(body, "abcd", "it is cut");
    let trailers = trailers.expect("ours is sent");
    assert_eq!(
        trailers["content-truncated"], "length;limit=4;unit=byte",
        "it was cut"
    );
    let whole = serve(pages().layer(Truncate::chars(10).layer())).await;
    let (_, body, trailers) = ask2(whole, "/silent").await.unwrap();
    assert_eq!(body, "abcdef", "it is whole");
    assert_eq!(
        trailers.expect("the whole's pass")["x-sum"],
        "1",
        "as they are"
    );
}

#[tokio::test]
async fn an_upstream_error_resets_the_stream_before_the_limit_and_is_unseen_behind_it() {
    // Rows 48 and 49.
    let before = serve(pages().layer(Truncate::bytes(10).layer())).await;
    assert!(
        ask1(before, "/fails", None).await.is_err(),
        "HTTP/1.1: no clean end"
    );
    assert!(ask2(before, "/fails").await.is_err(), "HTTP/2: a reset");
    let behind = serve(pages().layer(Truncate::bytes(4).layer())).await;
    assert_eq!(
        ask1(behind, "/fails", None).await.unwrap().1,
        "abcd",
        "HTTP/1.1: it ended before"
    );
    assert_eq!(
        ask2(behind, "/fails").await.unwrap().1,
        "abcd",
        "HTTP/2: it ended before"
    );
}

#[tokio::test]
async fn a_length_left_standing_on_a_shorter_body_breaks_the_message_and_ours_does_not_stand() {
    // Row 7: why the header is rewritten at all. A layer that only shortens the body:
    let naive = |response: axum::response::Response| {
        let (head, body) = response.into_parts();
        let body = http_body_util::Limited::new(body, 4).into_data_stream();
        let body = futures_util::StreamExt::take(body, 1);
        axum::response::Response::from_parts(head, Body::from_stream(body))
    };
    let stale = serve(pages().layer(tower::util::MapResponseLayer::new(naive))).await;
    assert!(
        ask1(stale, "/stated", None).await.is_err(),
        "HTTP/1.1: the message is incomplete"
    );
    assert!(
        ask2(stale, "/stated").await.is_err(),
        "HTTP/2: the message is malformed"
    );
    let ours = serve(pages().layer(Truncate::bytes(3).layer())).await;
    assert_eq!(
        ask1(ours, "/stated", None).await.unwrap().1,
        "abc",
        "HTTP/1.1: it is whole"
    );
    assert_eq!(
        ask2(ours, "/stated").await.unwrap().1,
        "abc",
        "HTTP/2: it is whole"
    );
}

#[tokio::test]
async fn the_connection_behind_a_cut_is_let_go_in_the_poll_that_reaches_the_limit() {
    // hyper reads once more when a body is dropped: it keeps a connection whose body that ends, and
    // closes one in the middle of chunks. Reading on is its owner's business; ours is to let go.
    let ends = async |path: &str| {
        let socket = TcpStream::connect(serve(pages()).await).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request(path, None)).await.unwrap();
        let mut body = Truncate::bytes(2).apply(response).into_body();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "ab", "{path} is cut");
        let ready = tokio::time::timeout(std::time::Duration::from_secs(10), sender.ready()).await;
        let ready = ready.expect("the connection is let go while the cut body is still held");
        drop(body);
        ready.is_ok()
    };
    assert!(
        ends("/stated").await,
        "a short rest of a known length keeps the connection"
    );
    assert!(
        !ends("/silent").await,
        "a rest in chunks, of which all has come, does not"
    );
}

#[tokio::test]
async fn a_limit_is_no_obstacle_to_a_service_that_cannot_fail() {
    let service = Truncate::bytes(4).layer();
    let service = tower::Layer::layer(&service, pages());
    let response: Result<_, Infallible> = service
        .oneshot(request("/stated", None).map(Body::new))
        .await;
    assert!(response.is_ok(), "the layer adds no error of its own");
}
