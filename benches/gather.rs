//! A gather of five on idle connections, in memory, beside the same by hand over hyper-util's client.
//!
//!     cargo bench --bench gather

#![allow(missing_docs, reason = "a bench is no API")]
#![expect(clippy::expect_used, reason = "a bench fails by a panic")]

mod support;

use std::{hint::black_box, pin::pin};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::{StreamExt, stream::FuturesOrdered};
use http::Uri;
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower_upstream::{Format, Gather, Truncate, Upstream};

use support::{InMemory, runtime};

fn page() -> Uri {
    Uri::from_static("http://page.example/a/path?and=query")
}

async fn read<B: Body<Data = Bytes>>(body: B) -> BytesMut {
    let mut body = pin!(body);
    let mut all = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        all.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
    }
    all
}

fn gather(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("gather of five");
    let upstream = Upstream::builder().connector(InMemory).build();
    let upstream = upstream.expect("the limits are sound");
    let uris: [Uri; 5] = std::array::from_fn(|_| page());
    for (name, format) in [("text", Format::text()), ("ndjson", Format::ndjson())] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let gather = Gather::get(&uris)
                    .truncate(Truncate::chars(50))
                    .format(format.clone());
                runtime.block_on(async {
                    black_box(read(gather.send(&upstream).await.into_body()).await)
                })
            });
        });
    }
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(InMemory);
    let first_half = async |client: Client<InMemory, Empty<Bytes>>| {
        let response = client.get(page()).await.expect("there is a response");
        let mut text = read(response.into_body()).await;
        text.truncate(50);
        text
    };
    group.bench_function("by hand over hyper-util", |b| {
        b.iter(|| {
            let legs: FuturesOrdered<_> = (0..5).map(|_| first_half(client.clone())).collect();
            runtime.block_on(async { black_box(legs.collect::<Vec<_>>().await) })
        });
    });
    group.finish();
}

criterion_group!(benches, gather);
criterion_main!(benches);
