use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower::{BoxError, Service};

use super::{
    deadline::Deadline,
    format::Writer,
    legs::Running,
    order::Line,
    read::Read,
    report::{Failure, Report, Tally},
};
use crate::error::ErrorKind;

/// The body of a [`Gather`](crate::Gather)'s response: what the legs said, as it comes.
///
/// It has no errors of its own, since failures stand in it, and no type parameters, so that
/// handlers can name it: that costs one allocation a gather.
///
/// # Cancellation
///
/// The legs run only while it is polled. Dropping it drops them all, and what they hold.
pub struct GatherBody {
    /// `None` once it has ended.
    joint: Option<Box<dyn Join + Send>>,
}

/// A [`Joint`], without its type parameters.
pub(super) trait Join {
    fn poll_status(&mut self, cx: &mut Context<'_>) -> Poll<StatusCode>;
    /// What there is to send, and whether it is the last. Empty only if it is.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<(Bytes, bool)>;
}

/// All the legs of a gather, and what is written of them.
pub(super) struct Joint<I: Iterator> {
    pub(super) legs: Running<I>,
    /// Those that have ended and are not written yet.
    pub(super) line: Line<Report>,
    pub(super) tally: Tally,
    pub(super) writer: Writer,
    pub(super) fail_fast: bool,
    pub(super) deadline: Deadline,
}

// === impl GatherBody ===

impl GatherBody {
    pub(super) fn new(joint: impl Join + Send + 'static) -> Self {
        let joint: Box<dyn Join + Send> = Box::new(joint);
        Self { joint: Some(joint) }
    }

    /// The status, once a leg has succeeded or all have failed.
    pub(super) fn poll_status(&mut self, cx: &mut Context<'_>) -> Poll<StatusCode> {
        match &mut self.joint {
            Some(joint) => joint.poll_status(cx),
            None => Poll::Ready(StatusCode::OK),
        }
    }
}

impl Body for GatherBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(joint) = &mut self.joint else {
            return Poll::Ready(None);
        };
        let (output, is_last) = ready!(joint.poll_output(cx));
        if is_last {
            self.joint = None;
        }
        let frame = (!output.is_empty()).then(|| Ok(Frame::data(output)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.joint.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.joint {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for GatherBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.joint.is_none();
        f.debug_struct("GatherBody")
            .field("ended", &ended)
            .finish_non_exhaustive()
    }
}

// === impl Joint ===

impl<I, S, B, RB> Joint<I>
where
    I: Iterator<Item = Read<S, B, RB>>,
    S: Service<Request<B>, Response = Response<RB>, Error: Into<BoxError>>,
    RB: Body<Error: Into<BoxError>>,
{
    /// Lets the legs run as far as they can. Ready when all have ended.
    fn poll_legs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.legs.poll_next(cx) {
                Poll::Ready(Some(report)) => {
                    let failed = !report.is_success();
                    self.enter(report);
                    if failed && self.fail_fast {
                        self.abandon(Failure::GivenUp);
                    }
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending if self.deadline.poll(cx).is_ready() => {
                    self.abandon(Failure::Kind(ErrorKind::TotalTimeout));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn abandon(&mut self, why: Failure) {
        let mut reports = self.legs.abandon(why);
        reports.sort_by_key(|report| report.index);
        for report in reports {
            self.enter(report);
        }
    }

    fn enter(&mut self, report: Report) {
        self.tally.count(&report);
        self.line.push(report.index, report);
    }

    /// Writes what can be written by now.
    fn write(&mut self) {
        while let Some(report) = self.line.pop() {
            self.writer.whole(report);
        }
        let turn = self.line.turn();
        let of_turn = |report: &&mut Report| Some(report.index) == turn;
        if let Some(report) = self.legs.running().map(Read::report).find(of_turn) {
            self.writer.part(report);
        }
    }
}

impl<I, S, B, RB> Join for Joint<I>
where
    I: Iterator<Item = Read<S, B, RB>>,
    S: Service<Request<B>, Response = Response<RB>, Error: Into<BoxError>>,
    RB: Body<Error: Into<BoxError>>,
{
    fn poll_status(&mut self, cx: &mut Context<'_>) -> Poll<StatusCode> {
        let ended = self.poll_legs(cx).is_ready();
        if self.fail_fast && self.tally.failed > 0 {
            return Poll::Ready(self.tally.worst());
        }
        let mut running = self.legs.running().map(Read::report);
        if self.tally.ok > 0 || running.any(|report| report.is_success()) {
            return Poll::Ready(StatusCode::OK);
        }
        if ended {
            return Poll::Ready(self.tally.worst());
        }
        Poll::Pending
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<(Bytes, bool)> {
        let is_last = self.poll_legs(cx).is_ready();
        self.write();
        if is_last {
            self.writer.finish(&self.tally);
        }
        match self.writer.take() {
            Some(output) => Poll::Ready((output.freeze(), is_last)),
            None if is_last => Poll::Ready((Bytes::new(), true)),
            None => Poll::Pending,
        }
    }
}
