use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::BoxError;

use super::{
    Truncation, TruncationOutcome,
    cut::Cut,
    step::{Ending, Mark, Rest, Step, Tail, at_least, is_clear, pass_on, step},
};

pin_project! {
    /// A body that ends at a limit: see [`Truncate`](crate::Truncate).
    ///
    /// `is_end_stream` and `size_hint` hold: they never say more than what will come. After its end,
    /// or after an error, it stays ended; no frame of it is empty.
    ///
    /// # Errors
    ///
    /// Those of the inner body, boxed, if they come before the limit; malformed text, if
    /// [`Invalid::Error`](crate::Invalid::Error) asks for it; and content that is not what its coding
    /// says, or too long for what it gives.
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

/// Keeps count, and tells the outcome when the body ends.
#[derive(Default)]
struct Tally {
    bytes: u64,
    original: Option<u64>,
    outcome: Option<TruncationOutcome>,
    /// Whoever else wants to know.
    truncation: Option<Truncation>,
}

/// How to limit a body.
pub(super) struct Limit {
    /// `None` for a body that is within the limit.
    pub(super) cut: Option<Cut>,
    /// The limit is zero.
    pub(super) reached: bool,
    pub(super) original: Option<u64>,
    pub(super) truncation: Option<Truncation>,
    pub(super) mark: Option<Mark>,
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
            outcome: None,
            truncation: limit.truncation,
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
    /// Whether it has ended at the limit, and may have gone on.
    pub(crate) fn is_cut(&self) -> bool {
        use TruncationOutcome::{Cut, LimitReached};
        matches!(self.tally.outcome, Some(Cut { .. } | LimitReached { .. }))
    }

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
                    if let Some(flow) = cut.as_mut().and_then(Cut::resume) {
                        pass_on(cut.as_ref(), this.mark, flow, &*body)
                    } else {
                        let frame = ready!(body.as_mut().poll_frame(cx));
                        step(cut.as_mut(), this.mark, frame, &*body)
                    }
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
                let hint = match cut {
                    Some(cut) => cut.size_hint(&hint),
                    None => hint,
                };
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
        self.outcome = Some(outcome);
        if let Some(truncation) = self.truncation.take() {
            truncation.settle(outcome);
        }
    }
}
