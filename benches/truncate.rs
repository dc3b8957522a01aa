//! What it costs to pass a body through a cut that lets it pass whole, beside reading it bare.
//!
//!     cargo bench --bench truncate
//!
//! The reader copies each piece, as a socket's would be: so the ratio is that of a real body's way.

#![allow(missing_docs, reason = "a bench is no API")]
#![expect(clippy::expect_used, reason = "a bench fails by a panic")]

use std::{
    hint::black_box,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Response, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use tower_upstream::Truncate;

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 64;

/// A body of a known length, in chunks that cost nothing to make.
struct Chunks {
    chunk: Bytes,
    left: usize,
}

impl Chunks {
    fn new() -> Self {
        Self {
            chunk: Bytes::from(vec![b'x'; CHUNK]),
            left: CHUNKS,
        }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.left.checked_sub(1).map(|left| {
            self.left = left;
            Ok(Frame::data(self.chunk.clone()))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.left * CHUNK) as u64)
    }
}

fn read<B: Body<Data = Bytes>>(body: B, buffer: &mut Vec<u8>) {
    let mut body = std::pin::pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        let data = frame.ok().and_then(|frame| frame.into_data().ok());
        buffer.clear();
        buffer.extend_from_slice(&data.expect("there is data in each frame"));
        black_box(&buffer);
    }
}

fn pass(c: &mut Criterion) {
    let mut group = c.benchmark_group("pass");
    group.throughput(Throughput::Bytes((CHUNK * CHUNKS) as u64));
    let mut buffer = Vec::with_capacity(CHUNK);
    group.bench_function("bare", |b| b.iter(|| read(Chunks::new(), &mut buffer)));
    for (name, cut) in [
        ("bytes", Truncate::bytes(1 << 30)),
        ("chars", Truncate::chars(1 << 30)),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let response = Response::builder().header(CONTENT_TYPE, "text/plain");
                let response = response.body(Chunks::new()).expect("the head is sound");
                read(cut.apply(response).into_body(), &mut buffer);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pass);
criterion_main!(benches);
