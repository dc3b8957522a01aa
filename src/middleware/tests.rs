//! What the bundle adds to its parts: the handle, the defaults, and refusals as responses.

use std::{
    convert::Infallible,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use http::{HeaderName, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{Truncate, Upstream, UpstreamLayer};

type Endless = StreamBody<stream::Pending<Result<Frame<Bytes>, Infallible>>>;

fn layer() -> UpstreamLayer {
    UpstreamLayer::new(Upstream::builder().build().unwrap())
}

/// Answers with a body that does not end.
async fn streaming(_: Request<Empty<Bytes>>) -> Result<Response<Endless>, Infallible> {
    Ok(Response::new(StreamBody::new(stream::pending())))
}

fn request() -> Request<Empty<Bytes>> {
    Request::new(Empty::new())
}

fn grpc(content_type: &'static str) -> Request<Empty<Bytes>> {
    let content_type = (header::CONTENT_TYPE, content_type.parse().unwrap());
    let mut request = request();
    request.headers_mut().extend([content_type]);
    request
}

fn text<B>(response: &Response<B>, name: impl Into<HeaderName>) -> &str {
    let value = response.headers().get(name.into());
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_handle_is_in_the_extensions_with_and_without_a_limit() {
    for layer in [layer(), layer().max_in_flight(1)] {
        let service = layer.layer(service_fn(async |request: Request<()>| {
            let handle = request.extensions().get::<Upstream>();
            assert!(handle.is_some(), "the handler finds the handle");
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
        }));
        let response = service.oneshot(Request::new(())).await.unwrap();
        assert_eq!(
            response.body().size_hint().exact(),
            Some(5),
            "the body's size is not lost"
        );
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "hello");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_body_is_over() {
    let mut service = layer().max_in_flight(1).layer(service_fn(streaming));
    let first = service.call(request()).await.unwrap();
    let mut second = pin!(service.call(request()));
    assert!(
        (&mut second).now_or_never().is_none(),
        "the first response is still to be streamed"
    );
    drop(first);
    let second = second.await.unwrap();
    assert_eq!(second.status(), StatusCode::OK, "its body has gone");
}

#[tokio::test(start_paused = true)]
async fn by_default_as_many_wait_as_work_and_for_five_seconds() {
    let mut service = layer().max_in_flight(2).layer(service_fn(streaming));
    let _first = service.call(request()).await.unwrap();
    let _second = service.call(request()).await.unwrap();
    let start = Instant::now();
    let waiting = [service.call(request()), service.call(request())];
    let waiting = tokio::spawn(join_all(waiting));
    tokio::task::yield_now().await;

    let refused = service.call(request()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "the fifth is not kept");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(&refused, header::RETRY_AFTER), "1");
    assert_eq!(
        text(&refused, header::CONTENT_TYPE),
        "text/plain; charset=utf-8"
    );
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "too many requests are waiting", "it says why");

    for refused in waiting.await.unwrap() {
        let refused = refused.unwrap();
        assert_eq!(start.elapsed().as_secs(), 5, "the others have waited");
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = refused.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "no place came free in time", "and are told so");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_request_is_refused_as_grpc() {
    let layer = layer().max_in_flight(1).max_pending(0);
    let mut service = layer.layer(service_fn(streaming));
    let _first = service.call(request()).await.unwrap();
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let refused = service.call(grpc(content_type)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::OK, "gRPC's is elsewhere");
        assert_eq!(text(&refused, header::CONTENT_TYPE), "application/grpc");
        let status = HeaderName::from_static("grpc-status");
        assert_eq!(text(&refused, status), "8", "RESOURCE_EXHAUSTED");
        let message = HeaderName::from_static("grpc-message");
        assert_eq!(text(&refused, message), "too many requests are waiting");
        assert!(
            refused.body().is_end_stream(),
            "the status is in the head, and there is no more than that"
        );
    }
    let refused = service.call(grpc("application/json")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn proxy_status_is_told_where_it_is_asked_for() {
    let header = HeaderName::from_static("proxy-status");
    let layer = layer().max_in_flight(1).max_pending(0);
    let mut service = layer.layer(service_fn(streaming));
    let _first = service.call(request()).await.unwrap();
    let refused = service.call(request()).await.unwrap();
    assert_eq!(text(&refused, header.clone()), "", "not by itself");

    let mut service = layer
        .proxy_status("edge \"7\"\r\nx: é")
        .layer(service_fn(streaming));
    let refused = service.call(request()).await.unwrap();
    assert_eq!(
        text(&refused, header),
        r#""edge \"7\"__x: _"; error=connection_limit_reached"#,
        "a name cannot break out of its header"
    );
}

#[tokio::test]
async fn clones_and_services_share_one_budget() {
    let layer = layer().max_in_flight(1).max_pending(0);
    let mut one = layer.layer(service_fn(streaming));
    let mut two = layer.clone().layer(service_fn(streaming));
    let mut three = two.clone();
    let first = one.call(request()).await.unwrap();
    for other in [&mut two, &mut three] {
        let refused = other.call(request()).await.unwrap();
        let status = refused.status();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "one for all");
    }
    drop(first);
    assert_eq!(
        three.call(request()).await.unwrap().status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn idle_services_hold_no_place() {
    let layer = layer().max_in_flight(1).max_pending(0);
    let mut service = layer.layer(service_fn(streaming));
    let mut idle = vec![service.clone(); 1000];
    for service in &mut idle {
        service.ready().now_or_never().unwrap().unwrap();
    }
    let response = service.call(request()).await.unwrap();
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "a thousand connections that are polled for readiness take no place"
    );
}

#[tokio::test]
async fn two_layers_in_a_stack_both_count() {
    let (outer, inner) = (layer().max_in_flight(2), layer().max_in_flight(1));
    let inner = inner.max_pending(0).layer(service_fn(streaming));
    let mut service = outer.max_pending(0).layer(inner);
    let _first = service.call(request()).await.unwrap();
    let refused = service.call(request()).await.unwrap();
    let status = refused.status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "by the inner one");
    let refused_too = service.call(request()).await.unwrap();
    let status = refused_too.status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "by the outer one");
}

#[tokio::test]
async fn a_response_is_cut_and_then_makes_room() {
    let layer = layer().max_in_flight(1).max_pending(0);
    let layer = layer.truncate(Truncate::chars(2));
    let mut service = layer.layer(service_fn(async |request: Request<Empty<Bytes>>| {
        let coding = request.headers().get(header::ACCEPT_ENCODING);
        assert_eq!(coding.unwrap(), "identity", "a coded body cannot be cut");
        let frames = [Bytes::from("é"), Bytes::from("éé")].map(|data| Ok(Frame::data(data)));
        let endless = stream::iter(frames).chain(stream::pending::<Result<_, Infallible>>());
        let mut response = Response::new(StreamBody::new(endless));
        let plain = "text/plain; charset=utf-8".parse().unwrap();
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        Ok::<_, Infallible>(response)
    }));

    let mut response = service.call(request()).await.unwrap();
    let refused = service.call(request()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let text_of_refusal = refused.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        text_of_refusal, "too many requests are waiting",
        "a refusal is not cut"
    );

    let mut text = Vec::new();
    while let Some(frame) = response.frame().await {
        text.extend(frame.unwrap().into_data().unwrap_or_default());
    }
    assert_eq!(text, "éé".as_bytes(), "two characters and no more");
    let next = service.call(request()).await.unwrap();
    assert_eq!(
        next.status(),
        StatusCode::OK,
        "the rest is dropped, so there is room although this body is kept"
    );
    drop(response);
}

/// Fails, and is ready for nobody.
#[derive(Clone)]
struct Broken;

impl Service<Request<()>> for Broken {
    type Response = Response<Empty<Bytes>>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Err("broken"))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test]
async fn the_error_type_is_the_services_own() {
    for layer in [layer(), layer().max_in_flight(1)] {
        let service = layer.layer(Broken);
        for _ in 0..3 {
            let error = service.clone().oneshot(Request::new(())).await.unwrap_err();
            assert_eq!(error, "broken", "also when it is not even ready");
        }
    }
}

#[tokio::test]
#[should_panic(expected = "max_in_flight is 0")]
async fn a_limit_that_serves_nobody_is_refused() {
    drop(layer().max_in_flight(0));
}

#[tokio::test]
async fn any_other_number_will_do() {
    let layer = layer().max_in_flight(usize::MAX).max_pending(usize::MAX);
    let service = layer.wait(Duration::MAX).layer(service_fn(streaming));
    let response = service.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "no limit is too large");
}
