use std::{
    convert::Infallible,
    fmt,
    future::{self, Future},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tower::{Layer, Service, util::Oneshot};

use super::HeldBody;
use crate::error::BoxError;

/// Makes the permit of a tower limit layer last until the response body ends.
///
/// `L` is any layer that limits by its readiness or its future and whose service is `Clone`:
/// `ConcurrencyLimitLayer`, `GlobalConcurrencyLimitLayer`, or a `ServiceBuilder` stack of them with
/// `LoadShedLayer` and [`WaitLayer`](super::WaitLayer). None is rewritten: the limit is put over
/// [`Admit`], which lets a request pass and then never answers, so that the limit counts it for as
/// long as its future is kept, and that future lives in the response body.
///
/// * **Held until** the [`HeldBody`] of the response ends, fails or is dropped; for an upgrade (101,
///   or a 2xx to CONNECT), whose body says nothing of its length, until the head.
/// * **Freed at once** where there is no body to come, and when the service fails or the call is
///   dropped.
/// * **Readiness**: always ready. Limit and service are waited for inside the call, on a clone of
///   each that lives no longer than its request. So no permit is held by, nor any place in the queue
///   promised to, a service that is not being called.
/// * **Errors** are those of the limit over the service, as tower makes them: for a limit that only
///   waits, the service's own.
///
/// See the [module docs](crate::limit) for an example.
#[derive(Clone, Copy, Debug)]
pub struct UntilBodyEndLayer<L> {
    limit: L,
}

/// A service made by [`UntilBodyEndLayer`]: `S` under the limit `T`.
#[derive(Clone, Debug)]
pub struct UntilBodyEnd<T, S> {
    limit: T,
    inner: S,
}

/// What the limit is put over in place of the service `S`: it lets each [`Candidate`] go on to `S`,
/// and then keeps its place.
///
/// Of `S` it only has the error type, so that a limit which adds no error of its own has that of
/// the service.
pub struct Admit<S> {
    service: PhantomData<fn() -> S>,
}

/// A request before a limit: what the service under the limit is called with.
///
/// Dropping it refuses the request, and then the limit's future must fail.
pub struct Candidate<R> {
    request: R,
    admitted: oneshot::Sender<R>,
}

/// A limit's own future, which holds the limit's permit until it is dropped.
pub struct Permit<T, R>
where
    T: Service<Candidate<R>>,
{
    // Boxed, since it has been polled by the time it is moved into the body.
    limit: Pin<Box<Oneshot<T, Candidate<R>>>>,
}

/// A permit whose limit has been forgotten. It is boxed already, so this costs nothing.
pub(crate) struct ErasedPermit {
    _limit: Pin<Box<dyn Future<Output = Result<Infallible, BoxError>> + Send>>,
}

type HeldResponse<B, T, R> = Response<HeldBody<B, Option<Permit<T, R>>>>;

type Outcome<B, T, S, R> = Result<
    HeldResponse<B, T, R>,
    Stop<<T as Service<Candidate<R>>>::Error, <S as Service<R>>::Error>,
>;

/// Why there is no response.
pub(crate) enum Stop<T, S> {
    /// The limit did not let the request pass.
    Refused(T),
    /// The service failed.
    Failed(S),
}

pin_project! {
    /// The future of [`UntilBodyEnd`]. Dropping it frees the permit, or the place in the queue.
    #[must_use = "futures do nothing unless polled"]
    pub struct UntilBodyEndFuture<T, S, R>
    where
        T: Service<Candidate<R>>,
        S: Service<R>,
    {
        // None once the call has been admitted.
        waiting: Option<(oneshot::Receiver<R>, S)>,
        // Before `permit`: what the call owns is given back before the permit that covers it.
        #[pin]
        call: Option<Oneshot<S, R>>,
        // None once the call is done.
        permit: Option<Permit<T, R>>,
        connect: bool,
    }
}

impl<L> UntilBodyEndLayer<L> {
    /// Holds the permits of `limit`.
    #[must_use]
    pub const fn new(limit: L) -> Self {
        Self { limit }
    }
}

impl<L, S> Layer<S> for UntilBodyEndLayer<L>
where
    L: Layer<Admit<S>>,
{
    type Service = UntilBodyEnd<L::Service, S>;

    fn layer(&self, inner: S) -> Self::Service {
        UntilBodyEnd {
            limit: self.limit.layer(Admit {
                service: PhantomData,
            }),
            inner,
        }
    }
}

// === impl UntilBodyEnd ===

impl<T, S, ReqBody, ResBody> Service<Request<ReqBody>> for UntilBodyEnd<T, S>
where
    T: Service<Candidate<Request<ReqBody>>, Response = Infallible> + Clone,
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<T::Error>,
    ResBody: Body,
{
    type Response = Response<HeldBody<ResBody, Option<Permit<T, Request<ReqBody>>>>>;
    type Error = T::Error;
    type Future = UntilBodyEndFuture<T, S, Request<ReqBody>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let connect = request.method() == Method::CONNECT;
        let (admitted, admission) = oneshot::channel();
        // Plain clones are as good as the originals, which are never polled and so never ready.
        let limit = Oneshot::new(self.limit.clone(), Candidate { request, admitted });
        UntilBodyEndFuture {
            waiting: Some((admission, self.inner.clone())),
            call: None,
            permit: Some(Permit {
                limit: Box::pin(limit),
            }),
            connect,
        }
    }
}

// === impl Admit ===

impl<S, R> Service<Candidate<R>> for Admit<S>
where
    S: Service<R>,
{
    type Response = Infallible;
    type Error = S::Error;
    type Future = future::Pending<Result<Infallible, S::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, candidate: Candidate<R>) -> Self::Future {
        // It comes back where the caller has gone, and there is nobody left to tell.
        drop(candidate.admitted.send(candidate.request));
        future::pending()
    }
}

impl<S> Clone for Admit<S> {
    fn clone(&self) -> Self {
        Self {
            service: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Admit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admit")
    }
}

// === impl Candidate ===

impl<R> Candidate<R> {
    /// The request, for a limit that depends on it.
    pub fn request(&self) -> &R {
        &self.request
    }
}

impl<R> fmt::Debug for Candidate<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candidate")
    }
}

// === impl Permit ===

impl<T, R> fmt::Debug for Permit<T, R>
where
    T: Service<Candidate<R>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

impl<T, R> Permit<T, R>
where
    T: Service<Candidate<R>, Response = Infallible, Error = BoxError> + Send + 'static,
    T::Future: Send,
    R: Send + 'static,
{
    pub(crate) fn erased(self) -> ErasedPermit {
        ErasedPermit { _limit: self.limit }
    }
}

// === impl UntilBodyEndFuture ===

impl<T, S, R, ResBody> UntilBodyEndFuture<T, S, R>
where
    T: Service<Candidate<R>, Response = Infallible>,
    S: Service<R, Response = Response<ResBody>>,
    ResBody: Body,
{
    /// The future's `poll`, with the limit's errors apart from the service's.
    pub(crate) fn poll_admitted(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<ResBody, T, S, R>> {
        let mut this = self.project();
        loop {
            if let Some(call) = this.call.as_mut().as_pin_mut()
                && let Poll::Ready(result) = call.poll(cx)
            {
                this.call.set(None);
                let permit = this.permit.take();
                return Poll::Ready(match result {
                    Ok(response) => Ok(hold(response, permit, *this.connect)),
                    Err(error) => Err(Stop::Failed(error)),
                });
            }
            let Some(permit) = this.permit else {
                return Poll::Pending;
            };
            // Also while the call runs: a limit on time, say, may still put an end to it.
            if let Poll::Ready(Err(refusal)) = permit.limit.as_mut().poll(cx) {
                this.call.set(None);
                *this.permit = None;
                return Poll::Ready(Err(Stop::Refused(refusal)));
            }
            let Some((admission, _)) = this.waiting else {
                return Poll::Pending;
            };
            let admitted = ready!(Pin::new(admission).poll(cx));
            // Without a request, the limit has dropped it: its future will tell why.
            if let (Ok(request), Some((_, service))) = (admitted, this.waiting.take()) {
                this.call.set(Some(Oneshot::new(service, request)));
            }
        }
    }
}

impl<T, S, R, ResBody> Future for UntilBodyEndFuture<T, S, R>
where
    T: Service<Candidate<R>, Response = Infallible>,
    S: Service<R, Response = Response<ResBody>>,
    S::Error: Into<T::Error>,
    ResBody: Body,
{
    type Output = Result<HeldResponse<ResBody, T, R>, T::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_admitted(cx).map_err(|stop| match stop {
            Stop::Refused(error) => error,
            Stop::Failed(error) => error.into(),
        })
    }
}

impl<T, S, R> fmt::Debug for UntilBodyEndFuture<T, S, R>
where
    T: Service<Candidate<R>>,
    S: Service<R>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilBodyEndFuture")
            .field("admitted", &self.waiting.is_none())
            .finish()
    }
}

/// Moves the permit into the body. An upgrade has none to speak of: what follows its head is another
/// protocol, which the server reads and writes by another way than the body.
fn hold<B: Body, P>(
    response: Response<B>,
    permit: Option<P>,
    connect: bool,
) -> Response<HeldBody<B, Option<P>>> {
    let status = response.status();
    let upgrade = status == StatusCode::SWITCHING_PROTOCOLS || connect && status.is_success();
    response.map(|body| HeldBody::new(body, permit.filter(|_| !upgrade)))
}
