use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, stream};

use super::{
    deadline::Deadline,
    legs::{Leg, Running, Task},
    order::Line,
    report::Failure,
};
use crate::error::ErrorKind;

/// The raw legs of a [`Gather`](crate::Gather), as a [`Stream`] that ends after the last.
///
/// # Cancellation
///
/// The legs run only while it is polled, and each up to its head: the bodies are the caller's.
/// Dropping it drops those whose heads have not been handed out.
#[must_use = "streams do nothing unless polled"]
pub struct Legs<RB> {
    legs: Pin<Box<dyn Stream<Item = Leg<RB>> + Send>>,
}

/// What [`Legs`] hides, since its type parameters cannot be named.
pub(super) struct Raw<I: Iterator, RB> {
    pub(super) legs: Running<I>,
    pub(super) line: Line<Leg<RB>>,
    pub(super) fail_fast: bool,
    pub(super) deadline: Deadline,
}

impl<RB> Legs<RB> {
    pub(super) fn new<I>(mut raw: Raw<I, RB>) -> Self
    where
        I: Iterator<Item: Task<Output = Leg<RB>>>,
        Raw<I, RB>: Send + 'static,
    {
        let legs = stream::poll_fn(move |cx| raw.poll_next(cx));
        Self {
            legs: Box::pin(legs),
        }
    }
}

impl<RB> Stream for Legs<RB> {
    type Item = Leg<RB>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Leg<RB>>> {
        self.legs.as_mut().poll_next(cx)
    }
}

impl<RB> fmt::Debug for Legs<RB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Legs").finish_non_exhaustive()
    }
}

impl<I, RB> Raw<I, RB>
where
    I: Iterator<Item: Task<Output = Leg<RB>>>,
{
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Leg<RB>>> {
        // First, since the first poll begins the legs: none is put off until the caller has dealt
        // with another.
        let ended = self.poll_legs(cx);
        match self.line.pop() {
            Some(leg) => Poll::Ready(Some(leg)),
            None => ended.map(|()| None),
        }
    }

    /// Lets the legs run as far as they can. Ready when all have ended.
    fn poll_legs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.legs.poll_next(cx) {
                Poll::Ready(Some(leg)) if leg.result.is_err() && self.fail_fast => {
                    self.legs.abandon(Failure::GivenUp);
                    self.line.close(leg);
                }
                Poll::Ready(Some(leg)) => self.line.push(leg.index, leg),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending if self.deadline.poll(cx).is_ready() => self.time_out(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn time_out(&mut self) {
        let mut legs = self.legs.abandon(Failure::Kind(ErrorKind::TotalTimeout));
        legs.sort_by_key(|leg| leg.index);
        for leg in legs {
            self.line.push(leg.index, leg);
        }
    }
}
