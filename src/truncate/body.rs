use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::BoxError;

use super::{
    Truncation, TruncationOutcome,
    cut::{Cut, Fallout, Flow, Malformed},
};

pin_project! {
    /// A body that ends at a limit: see [`Truncate`](crate::Truncate).
    ///
    /// `is_end_stream` and `size_hint` hold: they never say more than what will come. After its end,
    /// or after an error, it stays ended; no frame of it is empty.
    ///
    /// # Errors
    ///
    /// Those of the inner body, boxed, if they come before the limit; and malformed text, if
    /// [`Invalid::Error`](crate::Invalid::Error) asks for it.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the inner body, unless that is gone already: it is dropped in the poll that
    /// reaches the limit.
    pub struct TruncateBody<B> {
        #[pin]
        state: State<B>,
        tally: Tally,
        // What the trailers of a cut body say, where trailers can arrive.
        mark: Option<Mark>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<B> {
        // Without a cut it passes as it is.
        Inner { #[pin] body: B, cut: Option<Cut> },
        // The inner body is gone.
        Tail { tail: Tail },
    }
}

/// What is still to come when the inner body is gone: data, then trailers or an error.
#[derive(Default)]
struct Tail {
    data: Option<Bytes>,
    end: Option<Result<HeaderMap, BoxError>>,
}

/// A field that tells of the cut.
pub(super) type Mark = Box<(HeaderName, HeaderValue)>;

/// Keeps count, and tells the outcome when the body ends.
#[derive(Default)]
struct Tally {
    bytes: u64,
    original: Option<u64>,
    truncation: Option<Truncation>,
}

/// How to limit a body.
pub(super) struct Limit {
    /// `None` for a body that is within the limit.
    pub(super) cut: Option<Cut>,
    /// The limit is zero.
    pub(super) reached: bool,
    pub(super) original: Option<u64>,
    pub(super) truncation: Truncation,
    pub(super) mark: Option<Mark>,
}

/// What comes of one poll of the inner body.
enum Step {
    Skip,
    Emit(Bytes),
    /// The inner body is of no more use.
    End(Tail, Ending),
}

#[derive(Clone, Copy)]
enum Ending {
    Complete,
    Cut,
    LimitReached,
    Failed,
}

/// What is known of the rest of a body, once the limit is reached.
#[derive(Clone, Copy)]
enum Rest {
    Nothing,
    NoData,
    Data,
    Unknown,
}

// === impl TruncateBody ===

impl<B: Body> TruncateBody<B> {
    /// `body` as it is, of which nothing is told.
    pub(super) fn untouched(body: B) -> Self {
        Self {
            state: State::Inner { body, cut: None },
            tally: Tally::default(),
            mark: None,
        }
    }

    pub(super) fn new(body: B, limit: Limit) -> Self {
        let mut tally = Tally {
            bytes: 0,
            original: limit.original,
            truncation: Some(limit.truncation),
        };
        let rest = Rest::of(&body);
        if let Rest::Nothing = rest {
            // The reader of a body that has ended may never poll it.
            tally.settle(Ending::Complete);
        }
        let cut = limit.cut;
        let state = if limit.reached && cut.is_some() {
            tally.settle(rest.ending());
            State::Tail {
                tail: Tail::default(),
            }
        } else {
            State::Inner { body, cut }
        };
        Self {
            state,
            tally,
            mark: limit.mark,
        }
    }
}

impl<B> TruncateBody<B> {
    /// A body of our own, in the place of one that cannot be cut.
    pub(super) fn text(text: &'static str) -> Self {
        let data = Bytes::from_static(text.as_bytes());
        Self {
            state: State::Tail {
                tail: Tail::new(data, None),
            },
            tally: Tally::default(),
            mark: None,
        }
    }
}

impl<B> Body for TruncateBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            let step = match this.state.as_mut().project() {
                StateProj::Tail { tail } => return Poll::Ready(tail.pop()),
                StateProj::Inner { mut body, cut } => {
                    let frame = ready!(body.as_mut().poll_frame(cx));
                    step(cut.as_mut(), this.mark, frame, &*body)
                }
            };
            match step {
                Step::Skip => {}
                Step::Emit(data) => {
                    this.tally.count(&data);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Step::End(tail, ending) => {
                    tail.data.iter().for_each(|data| this.tally.count(data));
                    this.tally.settle(ending);
                    this.state.set(State::Tail { tail });
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Inner { body, cut } => is_clear(cut.as_ref()) && body.is_end_stream(),
            State::Tail { tail } => tail.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Inner { body, cut } => {
                let hint = body.size_hint();
                let hint = cut.as_ref().map_or(hint, |cut| cut.size_hint(&hint));
                if self.mark.is_some() {
                    return at_least(hint.lower());
                }
                hint
            }
            State::Tail { tail } => tail.size_hint(),
        }
    }
}

impl<B> fmt::Debug for TruncateBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TruncateBody")
            .field("bytes", &self.tally.bytes)
            .field("ended", &matches!(self.state, State::Tail { .. }))
            .finish_non_exhaustive()
    }
}

// === impl Step ===

/// Decides what one poll of `body`, whose result was `frame`, comes to.
fn step<B>(
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
            pass_on(cut, mark, chunk, body)
        }
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => finish(cut, Some(trailers)),
            Err(_) => Step::Skip,
        },
    }
}

fn pass_on<B: Body>(
    mut cut: Option<&mut Cut>,
    mark: &mut Option<Mark>,
    chunk: Bytes,
    body: &B,
) -> Step {
    let flow = match &mut cut {
        Some(cut) => cut.cut(chunk),
        None => Flow::More(chunk),
    };
    match flow {
        // A reader that sees this body ended does not poll it again: its end is told with its last
        // frame.
        Flow::More(data) if body.is_end_stream() && is_clear(cut.as_deref()) => {
            Step::End(Tail::new(data, None), Ending::Complete)
        }
        Flow::More(data) => Step::emit(data),
        Flow::Limit { last, dropped } => {
            let rest = if dropped { Rest::Data } else { Rest::of(body) };
            match rest {
                // All there is has passed, but for trailers.
                Rest::NoData => Step::emit(last),
                Rest::Data => {
                    let trailers = farewell(cut.as_deref(), mark.take());
                    Step::End(Tail::new(last, trailers.map(Ok)), Ending::Cut)
                }
                Rest::Nothing | Rest::Unknown => Step::End(Tail::new(last, None), rest.ending()),
            }
        }
        Flow::Malformed { before } => Step::fail(before, Err(Malformed.into())),
    }
}

/// The inner body ended before the limit, with or without trailers.
fn finish(cut: Option<&mut Cut>, trailers: Option<HeaderMap>) -> Step {
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
fn at_least(bytes: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(bytes);
    hint
}

fn is_clear(cut: Option<&Cut>) -> bool {
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
    fn new(data: Bytes, end: Option<Result<HeaderMap, BoxError>>) -> Self {
        let data = Some(data).filter(|data| !data.is_empty());
        Self { data, end }
    }

    fn pop(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        if let Some(data) = self.data.take() {
            return Some(Ok(Frame::data(data)));
        }
        let end = self.end.take()?;
        Some(end.map(Frame::trailers))
    }

    fn is_empty(&self) -> bool {
        self.data.is_none() && self.end.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.data.as_ref().map_or(0, |data| data.len() as u64);
        match self.end {
            None => SizeHint::with_exact(length),
            Some(_) => at_least(length),
        }
    }
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, data: &Bytes) {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
    }

    fn settle(&mut self, ending: Ending) {
        let bytes = self.bytes;
        let outcome = match ending {
            Ending::Complete => TruncationOutcome::Complete { bytes },
            Ending::Cut => TruncationOutcome::Cut {
                bytes,
                original: self.original,
            },
            Ending::LimitReached => TruncationOutcome::LimitReached { bytes },
            Ending::Failed => TruncationOutcome::Failed,
        };
        if let Some(truncation) = self.truncation.take() {
            truncation.settle(outcome);
        }
    }
}

// === impl Rest ===

impl Rest {
    fn of<B: Body>(body: &B) -> Self {
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

    fn ending(self) -> Ending {
        match self {
            Self::Nothing | Self::NoData => Ending::Complete,
            Self::Data => Ending::Cut,
            Self::Unknown => Ending::LimitReached,
        }
    }
}
