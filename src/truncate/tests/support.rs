use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use ::bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use tower::BoxError;

use crate::{Truncate, TruncateBody, Truncation, TruncationOutcome};

type Scripted = Result<Frame<Bytes>, BoxError>;

/// A body that does as it is told, and counts how often it is asked.
pub(super) struct Script {
    frames: VecDeque<Scripted>,
    sized: bool,
    tells_end: bool,
    polls: Arc<AtomicUsize>,
}

/// What a reader got of a body.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) frames: Vec<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) error: Option<BoxError>,
}

impl Script {
    /// These chunks, without a length and without telling when it has ended: a chunked body.
    pub(super) fn chunks<C: AsRef<[u8]>>(chunks: impl IntoIterator<Item = C>) -> Self {
        let frame = |chunk: C| Ok(Frame::data(Bytes::copy_from_slice(chunk.as_ref())));
        Self {
            frames: chunks.into_iter().map(frame).collect(),
            sized: false,
            tells_end: false,
            polls: Arc::default(),
        }
    }

    /// Knows its length and its end.
    pub(super) fn sized(mut self) -> Self {
        self.sized = true;
        self.tells_end = true;
        self
    }

    pub(super) fn tells_end(mut self) -> Self {
        self.tells_end = true;
        self
    }

    pub(super) fn trailers(mut self, name: &'static str, value: &'static str) -> Self {
        let mut map = HeaderMap::new();
        map.insert(name, HeaderValue::from_static(value));
        self.frames.push_back(Ok(Frame::trailers(map)));
        self
    }

    pub(super) fn error(mut self) -> Self {
        self.frames.push_back(Err("the upstream went away".into()));
        self
    }

    /// How often it was polled, and by the handle's other end whether it is still there.
    pub(super) fn polls(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.polls)
    }

    pub(super) fn text(self) -> Response<Self> {
        self.with([("content-type", "text/plain")])
    }

    /// A response with these headers, and the length if it is known.
    pub(super) fn with<const N: usize>(self, headers: [(&'static str, &str); N]) -> Response<Self> {
        let length = self.size_hint().exact();
        let mut response = Response::new(self);
        if let Some(length) = length {
            let length = HeaderValue::from(length);
            response.headers_mut().insert("content-length", length);
        }
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            response.headers_mut().append(name, value.parse().unwrap());
        }
        response
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Scripted>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        let data = self.frames.iter().flatten().filter_map(Frame::data_ref);
        SizeHint::with_exact(data.map(|data| data.len() as u64).sum())
    }
}

impl Seen {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.frames.concat()
    }
}

/// Reads a body to its end and holds it to the contract of bodies on the way.
pub(super) fn read<B>(body: B) -> Seen
where
    B: Body<Data = Bytes, Error = BoxError>,
{
    let mut body = Box::pin(body);
    let mut context = Context::from_waker(Waker::noop());
    let mut seen = Seen::default();
    let mut hints = Vec::new();
    loop {
        let (ended, hint) = (body.is_end_stream(), body.size_hint());
        let so_far = seen.bytes().len() as u64;
        hints.push((so_far, hint));
        let Poll::Ready(frame) = body.as_mut().poll_frame(&mut context) else {
            panic!("a body that is always ready makes a body that is always ready");
        };
        let Some(frame) = frame else { break };
        assert!(!ended, "a body that says it has ended has ended: {frame:?}");
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                assert!(!data.is_empty(), "no frame is empty");
                seen.frames.push(data);
            }
            Ok(Err(frame)) => seen.trailers = frame.into_trailers().ok(),
            Err(error) => seen.error = Some(error),
        }
    }
    for _ in 0..2 {
        let again = body.as_mut().poll_frame(&mut context);
        assert!(
            matches!(again, Poll::Ready(None)),
            "what has ended stays ended"
        );
    }
    assert!(body.is_end_stream(), "what has ended says so");
    if seen.error.is_none() {
        let all = seen.bytes().len() as u64;
        for (so_far, hint) in hints {
            let came = all - so_far;
            assert!(
                hint.lower() <= came,
                "no fewer bytes than hinted: {hint:?}, {came}"
            );
            assert!(
                hint.upper().is_none_or(|most| came <= most),
                "nor more: {hint:?}, {came}"
            );
        }
    }
    seen
}

/// Cuts a body by itself, as text of unknown length would be, and reads it.
pub(super) fn cut(truncate: &Truncate, body: Script) -> (Seen, TruncationOutcome) {
    finish(truncate.apply(body.text()))
}

pub(super) fn finish(response: Response<TruncateBody<Script>>) -> (Seen, TruncationOutcome) {
    let truncation = truncation(&response);
    let seen = read(response.into_body());
    (seen, truncation.outcome())
}

pub(super) fn truncation<B>(response: &Response<B>) -> Truncation {
    let truncation = response.extensions().get::<Truncation>();
    truncation
        .expect("the response was subject to the limit")
        .clone()
}

/// The one value of a header.
pub(super) fn header<'a, B>(response: &'a Response<B>, name: &str) -> Option<&'a str> {
    let value = response.headers().get(name)?;
    Some(value.to_str().expect("the value is text"))
}
