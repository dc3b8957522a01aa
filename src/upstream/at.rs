use std::task::{Context, Poll};

use bytes::Buf;
use http::{Request, Uri, uri::Scheme};
use http_body::Body;
use tower::Service;

use super::{ResponseFuture, Upstream};
use crate::{
    error::{BoxError, Error},
    origin::Origin,
};

/// An [`Upstream`] whose requests all go to one origin, whatever their URI's own: what
/// [`Upstream::at`] returns.
///
/// ```
/// # use axum::{Router, routing::get};
/// use http::Request;
/// use tower::ServiceExt;
/// use tower_upstream::Upstream;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?;
/// # let app = Router::new().route("/path", get(|| async { "hello" }));
/// # tokio::spawn(async move { axum::serve(listener, app).await });
/// let upstream = Upstream::builder().build()?;
/// let api = upstream.at(format!("http://{address}").parse()?);
///
/// let response = api.oneshot(Request::get("/path").body(String::new())?).await?;
/// assert_eq!(response.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AtOrigin {
    upstream: Upstream,
    origin: Origin,
}

impl AtOrigin {
    pub(super) fn new(upstream: Upstream, origin: Origin) -> Self {
        Self { upstream, origin }
    }

    /// Where its requests go.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl<B> Service<Request<B>> for AtOrigin
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    type Response = <Upstream as Service<Request<B>>>::Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(if self.origin.is_https() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
        parts.authority = Some(self.origin.authority().clone());
        parts
            .path_and_query
            .get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
        // All three parts are there, which is what a URI asks for.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        self.upstream.send(request)
    }
}
