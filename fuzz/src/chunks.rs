//! A body made of chunks, and a reader that holds bodies to their contract.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tower_upstream::TruncateBody;

/// How a body comes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Shape {
    chunk: u8,
    sized: bool,
    tells_end: bool,
    pub has_trailers: bool,
}

pub struct Chunks {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    shape: Shape,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Seen {
    pub bytes: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    pub failed: bool,
}

impl Chunks {
    pub fn new(bytes: &[u8], shape: Shape) -> Self {
        let size = usize::from(shape.chunk).max(1);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Self {
            data: bytes.chunks(size).map(Bytes::copy_from_slice).collect(),
            trailers: shape.has_trailers.then_some(trailers),
            shape,
        }
    }

    /// The same bytes in one chunk, of which nothing is known.
    pub fn whole(bytes: &[u8], shape: Shape) -> Self {
        let mut body = Self::new(
            bytes,
            Shape {
                sized: false,
                tells_end: false,
                ..shape
            },
        );
        body.data = VecDeque::from([Bytes::copy_from_slice(bytes)]);
        body
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(data) = self.data.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = self.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.shape.tells_end && self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.shape.sized {
            SizeHint::with_exact(self.data.iter().map(|data| data.len() as u64).sum())
        } else {
            SizeHint::default()
        }
    }
}

/// Reads a body to its end.
pub fn read(body: TruncateBody<Chunks>) -> Seen {
    let mut body = Box::pin(body);
    let mut context = Context::from_waker(Waker::noop());
    let mut seen = Seen::default();
    let mut hints = Vec::new();
    loop {
        let ended = body.is_end_stream();
        hints.push((seen.bytes.len() as u64, body.size_hint()));
        let Poll::Ready(frame) = body.as_mut().poll_frame(&mut context) else {
            panic!("the inner body is always ready");
        };
        let Some(frame) = frame else { break };
        assert!(!ended, "what says it has ended has ended");
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                assert!(!data.is_empty(), "no frame is empty");
                seen.bytes.extend_from_slice(&data);
            }
            Ok(Err(frame)) => seen.trailers = frame.into_trailers().ok(),
            Err(_) => seen.failed = true,
        }
    }
    let again = body.as_mut().poll_frame(&mut context);
    assert!(
        matches!(again, Poll::Ready(None)),
        "what has ended stays ended"
    );
    assert!(body.is_end_stream(), "and says so");
    if !seen.failed {
        for (before, hint) in hints {
            let came = seen.bytes.len() as u64 - before;
            assert!(hint.lower() <= came, "at least what was hinted");
            assert!(
                hint.upper().is_none_or(|most| came <= most),
                "at most what was hinted"
            );
        }
    }
    seen
}
