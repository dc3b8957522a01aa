//! What the layer adds to a request that the service answers at once, beside tower's own limit.
//!
//!     cargo bench --bench layer

#![allow(missing_docs, reason = "a bench is no API")]
#![expect(clippy::expect_used, reason = "a bench fails by a panic")]

use std::{convert::Infallible, hint::black_box, pin::pin};

use bytes::Bytes;
use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, limit::ConcurrencyLimitLayer, service_fn};
use tower_upstream::{Truncate, Upstream, UpstreamLayer};

const TEXT: &[u8] = &[b'x'; 100];

/// One request after another, each to the end of its body.
fn serve<S, B>(b: &mut Bencher<'_>, mut service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    b.iter(|| {
        let ready = std::future::poll_fn(|cx| service.poll_ready(cx));
        let is_ready = ready.now_or_never().is_some_and(|ready| ready.is_ok());
        assert!(is_ready, "there is room for one");
        let call = service.call(Request::new(Full::default()));
        let response = call.now_or_never().and_then(Result::ok);
        let mut body = pin!(response.expect("it is answered at once").into_body());
        while let Some(frame) = body.frame().now_or_never().flatten() {
            black_box(frame.is_ok());
        }
    });
}

fn layer(c: &mut Criterion) {
    let upstream = Upstream::builder().build().expect("the limits are sound");
    let service = service_fn(async |_: Request<Full<Bytes>>| {
        let response = Response::builder().header(CONTENT_TYPE, "text/plain");
        let response = response.body(Full::new(Bytes::from_static(TEXT)));
        Ok::<_, Infallible>(response.expect("the head is sound"))
    });
    let plain = UpstreamLayer::new(upstream);
    let limited = plain.clone().max_in_flight(10);
    let cut = plain.clone().truncate(Truncate::chars(50));
    let mut group = c.benchmark_group("layer");
    group.bench_function("none", |b| serve(b, service));
    group.bench_function("tower's limit, to the head", |b| {
        serve(b, ConcurrencyLimitLayer::new(10).layer(service));
    });
    group.bench_function("the handle", |b| serve(b, plain.layer(service)));
    group.bench_function("max_in_flight, to the end of the body", |b| {
        serve(b, limited.layer(service));
    });
    group.bench_function("truncate", |b| serve(b, cut.layer(service)));
    group.finish();
}

criterion_group!(benches, layer);
criterion_main!(benches);
