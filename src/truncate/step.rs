//! What comes of a frame of the inner body, decided without polling.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tower::BoxError;

use super::{
    cut::{Cut, Fallout, Flow},
    head::forget_digests,
};

/// What comes of one poll of the inner body.
pub(super) enum Step {
    Skip,
    Emit(Bytes),
    /// The inner body is of no more use.
    End(Tail, Ending),
}

#[derive(Clone, Copy)]
pub(super) enum Ending {
    Complete,
    Cut,
    LimitReached,
    Failed,
}

/// What is known of the rest of a body, once the limit is reached.
#[derive(Clone, Copy)]
pub(super) enum Rest {
    Nothing,
    NoData,
    Data,
    Unknown,
}

/// What is still to come when the inner body is gone: data, then trailers or an error.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) data: Option<Bytes>,
    end: Option<Result<HeaderMap, BoxError>>,
}

/// A field that tells of the cut.
pub(super) type Mark = Box<(HeaderName, HeaderValue)>;

// === impl Step ===

/// Decides what one poll of `body`, whose result was `frame`, comes to.
#[inline]
pub(super) fn step<B>(
    cut: Option<&mut Cut>,
    mark: &mut Option<Mark>,
    frame: Option<Result<Frame<B::Data>, B::Error>>,
    body: &B,
) -> Step
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let frame = match frame {
        None => return finish(cut, None),
        Some(Err(error)) => {
            let error = error.into();
            let fallout = match cut {
                Some(cut) => cut.fail(error),
                None => Err(error),
            };
            return Step::fail(Bytes::new(), fallout);
        }
        Some(Ok(frame)) => frame,
    };
    match frame.into_data() {
        Ok(mut data) => {
            let chunk = data.copy_to_bytes(data.remaining());
            match cut {
                Some(cut) => {
                    let flow = cut.cut(chunk);
                    pass_on(Some(cut), mark, flow, body)
                }
                None => pass_on(None, mark, Flow::More(chunk), body),
            }
        }
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => finish(cut, Some(trailers)),
            Err(_) => Step::Skip,
        },
    }
}

/// Decides what becomes of what `cut` lets through.
#[inline]
pub(super) fn pass_on<B: Body>(
    cut: Option<&Cut>,
    mark: &mut Option<Mark>,
    flow: Flow,
    body: &B,
) -> Step {
    match flow {
        // A reader that sees this body ended does not poll it again: its end is told with its last
        // frame.
        Flow::More(data) if body.is_end_stream() && is_clear(cut) => {
            Step::End(Tail::new(data, None), Ending::Complete)
        }
        Flow::More(data) => Step::emit(data),
        Flow::Limit { last, dropped } => {
            let rest = match Rest::of(body) {
                _ if dropped => Rest::Data,
                Rest::Data if !cut.is_some_and(Cut::is_as_written) => Rest::Unknown,
                rest => rest,
            };
            match rest {
                // All there is has passed, but for trailers.
                Rest::NoData => Step::emit(last),
                Rest::Data => {
                    let trailers = farewell(cut, mark.take());
                    Step::End(Tail::new(last, trailers.map(Ok)), Ending::Cut)
                }
                Rest::Nothing | Rest::Unknown => Step::End(Tail::new(last, None), rest.ending()),
            }
        }
        Flow::Failed { before, error } => Step::fail(before, Err(error)),
    }
}

/// The inner body ended before the limit, with or without trailers.
fn finish(cut: Option<&mut Cut>, mut trailers: Option<HeaderMap>) -> Step {
    if let Some(trailers) = &mut trailers
        && cut.as_ref().is_some_and(|cut| cut.rewrites())
    {
        forget_digests(trailers);
    }
    let carry = cut.map_or(Ok(Bytes::new()), |cut| cut.finish(trailers.as_ref()));
    match carry {
        Ok(carry) => Step::End(Tail::new(carry, trailers.map(Ok)), Ending::Complete),
        Err(fallout) => Step::fail(Bytes::new(), fallout),
    }
}

/// The trailers of a body that was cut.
fn farewell(cut: Option<&Cut>, mark: Option<Mark>) -> Option<HeaderMap> {
    let status = cut.and_then(Cut::status);
    if status.is_none() && mark.is_none() {
        return None;
    }
    let mut trailers = status.unwrap_or_default();
    trailers.extend(mark.map(|mark| *mark));
    Some(trailers)
}

/// A hint that nobody can derive a length from: trailers may follow, and where they do, HTTP/1.1 must
/// frame the body in chunks.
pub(super) fn at_least(bytes: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(bytes);
    hint
}

pub(super) fn is_clear(cut: Option<&Cut>) -> bool {
    cut.is_none_or(Cut::is_clear)
}

impl Step {
    fn emit(data: Bytes) -> Self {
        if data.is_empty() {
            Self::Skip
        } else {
            Self::Emit(data)
        }
    }

    fn fail(before: Bytes, fallout: Fallout) -> Self {
        Self::End(Tail::new(before, Some(fallout)), Ending::Failed)
    }
}

// === impl Tail ===

impl Tail {
    pub(super) fn new(data: Bytes, end: Option<Result<HeaderMap, BoxError>>) -> Self {
        let data = Some(data).filter(|data| !data.is_empty());
        Self { data, end }
    }

    pub(super) fn pop(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        if let Some(data) = self.data.take() {
            return Some(Ok(Frame::data(data)));
        }
        let end = self.end.take()?;
        Some(end.map(Frame::trailers))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_none() && self.end.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let length = self.data.as_ref().map_or(0, |data| data.len() as u64);
        match self.end {
            None => SizeHint::with_exact(length),
            Some(_) => at_least(length),
        }
    }
}

// === impl Rest ===

impl Rest {
    pub(super) fn of<B: Body>(body: &B) -> Self {
        if body.is_end_stream() {
            return Self::Nothing;
        }
        let hint = body.size_hint();
        match hint.lower() {
            0 if hint.exact().is_some() => Self::NoData,
            0 => Self::Unknown,
            _ => Self::Data,
        }
    }

    pub(super) fn ending(self) -> Ending {
        match self {
            Self::Nothing | Self::NoData => Ending::Complete,
            Self::Data => Ending::Cut,
            Self::Unknown => Ending::LimitReached,
        }
    }
}
