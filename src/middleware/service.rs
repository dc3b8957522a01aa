use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{
    UpstreamServiceBody,
    admission::{Admission, Limit},
    refuse::refusal,
};
use crate::{
    Truncate, Upstream,
    answer::Answering,
    error::BoxError,
    limit::{HeldBody, Permit, Stop, UntilBodyEnd, UntilBodyEndFuture},
    truncate::Asked,
};

/// A service made by [`UpstreamLayer`](crate::UpstreamLayer).
///
/// Its errors are those of the inner service: what it refuses becomes a response. With a limit it is
/// always ready, and works on a clone of the inner service for each request; without one it is
/// ready when the inner service is. Dropping its future drops the inner call and frees its place.
#[derive(Clone)]
pub struct UpstreamService<S> {
    upstream: Upstream,
    inner: Inner<S>,
    truncate: Option<Truncate>,
    proxy_status: Option<Arc<str>>,
}

#[derive(Clone)]
enum Inner<S> {
    Open(S),
    Limited(UntilBodyEnd<Limit<S>, S>),
}

pin_project! {
    /// The future of [`UpstreamService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct UpstreamServiceFuture<S, R>
    where
        S: Service<R>,
        S::Error: Into<BoxError>,
    {
        #[pin]
        state: State<S, R>,
        truncate: Option<(Truncate, Asked)>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, R>
    where
        S: Service<R>,
        S::Error: Into<BoxError>,
    {
        Open {
            #[pin]
            call: S::Future,
        },
        Limited {
            #[pin]
            call: UntilBodyEndFuture<Limit<S>, S, R>,
            answering: Answering,
            proxy_status: Option<Arc<str>>,
        },
    }
}

// === impl UpstreamService ===

impl<S> UpstreamService<S> {
    pub(super) fn new(
        inner: S,
        upstream: Upstream,
        admission: Option<&Admission>,
        truncate: Option<Truncate>,
        proxy_status: Option<Arc<str>>,
    ) -> Self {
        let inner = match admission {
            Some(admission) => Inner::Limited(admission.layer(inner)),
            None => Inner::Open(inner),
        };
        Self {
            upstream,
            inner,
            truncate,
            proxy_status,
        }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for UpstreamService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + 'static,
    S::Error: Into<BoxError>,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<UpstreamServiceBody<ResBody>>;
    type Error = S::Error;
    type Future = UpstreamServiceFuture<S, Request<ReqBody>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match &mut self.inner {
            Inner::Open(inner) => inner.poll_ready(cx),
            Inner::Limited(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        request.extensions_mut().insert(self.upstream.clone());
        let truncate = self.truncate.as_ref().map(|truncate| {
            let asked = truncate.ask(&mut request);
            (truncate.clone(), asked)
        });
        let state = match &mut self.inner {
            Inner::Open(inner) => State::Open {
                call: inner.call(request),
            },
            Inner::Limited(inner) => State::Limited {
                answering: Answering::new(request.headers(), request.version()),
                proxy_status: self.proxy_status.clone(),
                call: inner.call(request),
            },
        };
        UpstreamServiceFuture { state, truncate }
    }
}

impl<S> fmt::Debug for UpstreamService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_limited = matches!(self.inner, Inner::Limited(_));
        f.debug_struct("UpstreamService")
            .field("upstream", &self.upstream)
            .field("is_limited", &is_limited)
            .finish_non_exhaustive()
    }
}

// === impl UpstreamServiceFuture ===

impl<S, ReqBody, ResBody> Future for UpstreamServiceFuture<S, Request<ReqBody>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + 'static,
    S::Error: Into<BoxError>,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes>,
{
    type Output = Result<Response<UpstreamServiceBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.state.project() {
            StateProj::Open { call } => {
                let response = ready!(call.poll(cx))?;
                response.map(|body| HeldBody::new(body, None))
            }
            StateProj::Limited {
                call,
                answering,
                proxy_status,
            } => match ready!(call.poll_admitted(cx)) {
                Ok(response) => {
                    response.map(|body| body.map_held(|permit| permit.map(Permit::erased)))
                }
                Err(Stop::Failed(error)) => return Poll::Ready(Err(error)),
                Err(Stop::Refused(error)) => {
                    let response = answering.response(refusal(&error), proxy_status.as_deref());
                    return Poll::Ready(Ok(response.map(UpstreamServiceBody::refused)));
                }
            },
        };
        Poll::Ready(Ok(match this.truncate {
            // What is cut off is dropped, and the permit with it.
            Some((truncate, asked)) => truncate
                .answer(asked, response)
                .map(UpstreamServiceBody::truncated),
            None => response.map(UpstreamServiceBody::whole),
        }))
    }
}

impl<S, R> fmt::Debug for UpstreamServiceFuture<S, R>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamServiceFuture")
            .finish_non_exhaustive()
    }
}
