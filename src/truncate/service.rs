use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::{Truncate, TruncateBody, request::Asked};

/// A service whose responses are cut: see [`Truncate`].
///
/// Requests are [prepared](Truncate::prepare) on their way in.
#[derive(Clone)]
pub struct TruncateService<S> {
    inner: S,
    truncate: Truncate,
}

pin_project! {
    /// The future of a [`TruncateService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct TruncateFuture<F> {
        #[pin]
        inner: F,
        truncate: Truncate,
        asked: Asked,
    }
}

// === impl TruncateService ===

impl<S> TruncateService<S> {
    /// Cuts the responses of `inner` as `truncate` says.
    pub fn new(inner: S, truncate: Truncate) -> Self {
        Self { inner, truncate }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for TruncateService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<TruncateBody<ResBody>>;
    type Error = S::Error;
    type Future = TruncateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let asked = self.truncate.ask(&mut request);
        TruncateFuture {
            inner: self.inner.call(request),
            truncate: self.truncate.clone(),
            asked,
        }
    }
}

impl<S> fmt::Debug for TruncateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TruncateService")
            .field("truncate", &self.truncate)
            .finish_non_exhaustive()
    }
}

// === impl TruncateFuture ===

impl<F, B, E> Future for TruncateFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<TruncateBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        Poll::Ready(Ok(this.truncate.answer(this.asked, response)))
    }
}

impl<F> fmt::Debug for TruncateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TruncateFuture").finish_non_exhaustive()
    }
}
