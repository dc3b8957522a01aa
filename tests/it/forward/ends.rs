//! Group D of the fault cases where it is about how a body is polled, in this process.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Body as _;
use tower::ServiceExt;
use tower_upstream::{Forward, ForwardBody, Upstream};

use super::{faults::in_version, support::forward_http1};
use crate::{
    http2,
    support::{Server, eventually, sized},
};

async fn body(forward: Forward, request: http::request::Builder) -> ForwardBody {
    let request = request
        .header("host", "a")
        .body(Empty::<Bytes>::new())
        .unwrap();
    forward.oneshot(request).await.unwrap().into_body()
}

#[tokio::test]
async fn d15_a_body_is_empty_after_its_end_and_after_an_error() {
    let whole = Server::saying("hello").await;
    let broken = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.write(
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 9\r\n\r\nhalf",
        )
        .await
    })
    .await;
    // To a call over HTTP/2, an error is told in trailers.
    let call = Request::get("/")
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc");
    for (name, server, request, fails) in [
        ("whole", &whole, Request::get("/"), false),
        ("broken", &broken, Request::get("/"), true),
        ("broken call", &broken, call, false),
    ] {
        let mut body = body(forward_http1(server), request).await;
        let mut failed = false;
        while let Some(frame) = body.frame().await {
            assert!(!failed, "{name}: nothing comes after an error");
            failed = frame.is_err();
        }
        assert_eq!(failed, fails, "{name}");
        for _ in 0..3 {
            assert!(body.frame().await.is_none(), "{name}: it stays empty");
        }
        assert!(body.is_end_stream(), "{name}");
    }
}

#[tokio::test]
async fn d16_a_body_known_to_be_over_holds_nothing_though_its_end_was_not_asked_for() {
    let http1 = Server::answering(|_| async { sized("hello") }).await;
    let http2 = http2::serve(100, async |_| http2::full("hello")).await;
    for (version, uri) in [
        (Version::HTTP_11, http1.uri("/")),
        (Version::HTTP_2, http2.uri("/")),
    ] {
        let upstream = in_version(Upstream::builder(), version);
        let forward = upstream.forward_to(uri.parse().unwrap());
        let mut body = body(forward, Request::get("/")).await;
        while !body.is_end_stream() {
            body.frame().await.expect("there is more").unwrap();
        }
        eventually("nothing is held", || upstream.stats().total.in_use == 0).await;
        drop(body);
    }
}
