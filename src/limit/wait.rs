use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service, ServiceExt, util::ReadyOneshot};

use crate::error::BoxError;

/// Waits for the service's readiness inside the call, for at most a given time.
///
/// The service made is always ready itself and reserves nothing, so it may be polled for readiness
/// and left alone. A call that finds the inner service not ready in time fails with
/// [`WaitTimeout`]; the time that the call itself takes is not limited. Every call works on a clone
/// of the inner service.
///
/// Over a concurrency limit, this is a waiting room: see the [module docs](crate::limit).
#[derive(Clone, Copy, Debug)]
pub struct WaitLayer {
    limit: Duration,
}

/// A service made by [`WaitLayer`].
#[derive(Clone, Debug)]
pub struct Wait<S> {
    inner: S,
    limit: Duration,
}

/// The inner service was not ready in time, and the request was not given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeout {
    limit: Duration,
}

pin_project! {
    /// The future of [`Wait`]. Dropping it gives up its place among those that wait.
    #[must_use = "futures do nothing unless polled"]
    pub struct WaitFuture<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        state: State<S, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, R>
    where
        S: Service<R>,
    {
        Waiting {
            ready: ReadyOneshot<S, R>,
            request: Option<R>,
            limit: Duration,
            // None until it is known that there is something to wait for.
            #[pin]
            sleep: Option<Sleep>,
        },
        Called {
            #[pin]
            call: S::Future,
        },
        // A future that has given up may be kept, but its place in the queue must not.
        GivenUp,
    }
}

impl WaitLayer {
    /// Waits for at most `limit`, to the millisecond.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for WaitLayer {
    type Service = Wait<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wait {
            inner,
            limit: self.limit,
        }
    }
}

impl<S, R> Service<R> for Wait<S>
where
    S: Service<R> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = WaitFuture<S, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        // A plain clone is as good as the original, which is never polled and so never ready.
        let state = State::Waiting {
            ready: self.inner.clone().ready_oneshot(),
            request: Some(request),
            limit: self.limit,
            sleep: None,
        };
        WaitFuture { state }
    }
}

// === impl WaitFuture ===

impl<S, R> Future for WaitFuture<S, R>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let call = match state.as_mut().project() {
                StateProj::Waiting {
                    ready,
                    request,
                    limit,
                    sleep,
                } => {
                    let Poll::Ready(service) = Pin::new(ready).poll(cx) else {
                        ready!(poll_timer(sleep, *limit, cx));
                        let timeout = WaitTimeout { limit: *limit };
                        state.set(State::GivenUp);
                        return Poll::Ready(Err(timeout.into()));
                    };
                    let mut service = service.map_err(Into::into)?;
                    // The request is there: this state is left as soon as it is taken.
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    service.call(request)
                }
                StateProj::Called { call } => return call.poll(cx).map_err(Into::into),
                StateProj::GivenUp => return Poll::Pending,
            };
            state.set(State::Called { call });
        }
    }
}

/// Arms the timer when it is first asked for: most requests never wait.
fn poll_timer(
    mut sleep: Pin<&mut Option<Sleep>>,
    limit: Duration,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if sleep.is_none() {
        sleep.set(Some(tokio::time::sleep(limit)));
    }
    sleep
        .as_pin_mut()
        .map_or(Poll::Pending, |sleep| sleep.poll(cx))
}

impl<S, R> fmt::Debug for WaitFuture<S, R>
where
    S: Service<R>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = matches!(self.state, State::Waiting { .. });
        f.debug_struct("WaitFuture")
            .field("waiting", &waiting)
            .finish()
    }
}

// === impl WaitTimeout ===

impl WaitTimeout {
    /// For how long the request waited.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }
}

impl fmt::Display for WaitTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not ready within {:?}", self.limit)
    }
}

impl StdError for WaitTimeout {}
