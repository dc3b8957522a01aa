//! Runs legs: so many at once, begun in the order of their indexes, each polled only when it was
//! woken itself.

use std::{
    fmt,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response, Uri};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{BoxError, Service, util::Oneshot};

use super::report::{Failure, Refusal};

/// One answer of [`Gather::stream`](crate::Gather::stream), as it came.
#[non_exhaustive]
pub struct Leg<RB> {
    /// The place of its request among all, counted from 0.
    pub index: usize,
    /// The request's URI; `None` if what was given is not one.
    pub uri: Option<Uri>,
    /// The time from the start of the leg, which [`max_concurrent`](crate::Gather::max_concurrent)
    /// may put off, to the response's head or the error.
    pub head_after: Duration,
    /// The response as the service gave it, or the service's error:
    /// [`Error::find`](crate::Error::find) tells whether it is one of this crate's.
    pub result: Result<Response<RB>, BoxError>,
}

pin_project! {
    /// One leg up to its head.
    #[project = CallProj]
    pub(super) enum Call<S: Service<Request<B>>, B> {
        Sent { #[pin] call: Oneshot<S, Request<B>> },
        Refused { why: Refusal },
    }
}

pin_project! {
    /// The same, for who is to know which it was and how long it took.
    pub(super) struct Head<S: Service<Request<B>>, B> {
        index: usize,
        uri: Option<Uri>,
        started: Instant,
        #[pin]
        call: Call<S, B>,
    }
}

/// What [`Running`] runs.
pub(super) trait Task: Future {
    /// What it comes to if it is dropped now, unfinished, for a reason of the gather's own.
    fn abandon(self: Pin<&mut Self>, why: Failure) -> Self::Output;
}

/// The legs of one gather. Dropping it drops them all.
pub(super) struct Running<I: Iterator> {
    /// Made one by one, so that a leg that has not begun costs no more than its request.
    waiting: I,
    tasks: FuturesUnordered<I::Item>,
    at_once: usize,
}

// === impl Running ===

impl<I> Running<I>
where
    I: Iterator<Item: Task>,
{
    /// Begins at most `at_once` of the tasks, then one whenever another has ended.
    pub(super) fn new(tasks: I, at_once: usize) -> Self {
        Self {
            waiting: tasks,
            tasks: FuturesUnordered::new(),
            at_once: at_once.max(1),
        }
    }

    /// The next task to end, or `None` when there are no more.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<<I::Item as Future>::Output>> {
        while self.tasks.len() < self.at_once {
            match self.waiting.next() {
                Some(task) => self.tasks.push(task),
                None => break,
            }
        }
        self.tasks.poll_next_unpin(cx)
    }

    /// The tasks that have begun and not ended.
    pub(super) fn running(&mut self) -> impl Iterator<Item = Pin<&mut I::Item>> {
        Pin::new(&mut self.tasks).iter_pin_mut()
    }

    /// Drops all tasks at once and returns what each has come to.
    pub(super) fn abandon(&mut self, why: Failure) -> Vec<<I::Item as Future>::Output> {
        let running = self.running().map(|task| task.abandon(why));
        let mut ends: Vec<_> = running.collect();
        self.tasks.clear();
        ends.extend(self.waiting.by_ref().map(|task| pin!(task).abandon(why)));
        ends
    }
}

// === impl Call ===

impl<S: Service<Request<B>>, B> Call<S, B> {
    pub(super) fn new(target: Result<Request<B>, Refusal>, service: S) -> Self {
        match target {
            Ok(request) => Self::Sent {
                call: Oneshot::new(service, request),
            },
            Err(why) => Self::Refused { why },
        }
    }
}

impl<S, B, RB> Future for Call<S, B>
where
    S: Service<Request<B>, Response = Response<RB>, Error: Into<BoxError>>,
{
    type Output = Result<Response<RB>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            CallProj::Sent { call } => call.poll(cx).map_err(Into::into),
            CallProj::Refused { why } => Poll::Ready(Err(why.error())),
        }
    }
}

// === impl Head ===

impl<S: Service<Request<B>>, B> Head<S, B> {
    pub(super) fn new(index: usize, target: Result<Request<B>, Refusal>, service: S) -> Self {
        let uri = target.as_ref().ok().map(|request| request.uri().clone());
        Self {
            index,
            uri,
            started: Instant::now(),
            call: Call::new(target, service),
        }
    }

    /// The leg as it is if `result` is what came of it.
    fn leg<RB>(&self, result: Result<Response<RB>, BoxError>) -> Leg<RB> {
        Leg {
            index: self.index,
            uri: self.uri.clone(),
            head_after: self.started.elapsed(),
            result,
        }
    }
}

impl<S, B, RB> Future for Head<S, B>
where
    S: Service<Request<B>, Response = Response<RB>, Error: Into<BoxError>>,
{
    type Output = Leg<RB>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Leg<RB>> {
        let result = ready!(self.as_mut().project().call.poll(cx));
        Poll::Ready(self.leg(result))
    }
}

impl<S, B, RB> Task for Head<S, B>
where
    S: Service<Request<B>, Response = Response<RB>, Error: Into<BoxError>>,
{
    fn abandon(self: Pin<&mut Self>, why: Failure) -> Leg<RB> {
        self.leg(Err(why.error()))
    }
}

// === impl Leg ===

impl<RB> fmt::Debug for Leg<RB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index,
            uri,
            head_after,
            result,
        } = self;
        // The path and the query may hold a secret.
        let host = uri.as_ref().and_then(Uri::host);
        f.debug_struct("Leg")
            .field("index", index)
            .field("host", &host)
            .field("head_after", head_after)
            .field("result", &result.as_ref().map(Response::status))
            .finish()
    }
}
