//! For axum: the handle as an extractor, the error as a response.

use std::{error::Error as StdError, fmt};

use axum_core::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::{Error, Upstream, answer::Answer};

/// The rejection of the extractor [`Upstream`]: the request has none in its extensions.
///
/// Its response is a 500 that says what to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingUpstream(());

/// The handle that [`UpstreamLayer`](crate::UpstreamLayer) has put into the request's extensions.
///
/// ```
/// use axum::{Router, extract::State, routing::get};
/// use tower_upstream::{Error, Upstream, UpstreamLayer};
///
/// async fn front(upstream: Upstream, State(url): State<String>) -> Result<String, Error> {
///     let response = upstream.get(url).await?;
///     response.into_body().text(65_536).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let url = format!("http://{}/", listener.local_addr()?);
/// # let behind = Router::new().route("/", get(|| async { "hello" }));
/// # tokio::spawn(async move { axum::serve(listener, behind).await });
/// let upstream = Upstream::builder().build()?;
/// let app = Router::new()
///     .route("/", get(front))
///     .layer(UpstreamLayer::new(upstream))
///     .with_state(url);
/// # use http_body_util::BodyExt;
/// # use tower::ServiceExt;
/// # let response = app.oneshot(http::Request::new(axum::body::Body::empty())).await?;
/// # assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
/// # Ok(())
/// # }
/// ```
impl<S: Sync> FromRequestParts<S> for Upstream {
    type Rejection = MissingUpstream;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingUpstream> {
        parts.extensions.get().cloned().ok_or(MissingUpstream(()))
    }
}

/// The error's [status](Error::status), with its [kind](Error::kind) as plain text and nothing that
/// a client must not see; `Retry-After` with a 503. The error itself is in the response's extensions,
/// for a log to find.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Answer::from(self.kind()).http().map(Body::new);
        response.extensions_mut().insert(self);
        response
    }
}

// === impl MissingUpstream ===

impl fmt::Display for MissingUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no `Upstream` in the request's extensions: add `UpstreamLayer` to the router, by \
             `.layer(UpstreamLayer::new(upstream))` after the routes that ask for it",
        )
    }
}

impl StdError for MissingUpstream {}

impl IntoResponse for MissingUpstream {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::{ErrorKind, answer::RETRY_AFTER};

    #[test]
    fn a_503_says_when_to_return_and_the_log_finds_the_error() {
        let response = Error::new(ErrorKind::PoolTimeout).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            response.headers().get(header::RETRY_AFTER),
            Some(&RETRY_AFTER),
            "a full pool has room again soon"
        );
        let error = response.extensions().get::<Error>();
        assert_eq!(
            error.map(Error::kind),
            Some(ErrorKind::PoolTimeout),
            "what the client is not told is there for the server"
        );

        let response = Error::new(ErrorKind::ConnectRefused).into_response();
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert!(
            !response.headers().contains_key(header::RETRY_AFTER),
            "nobody knows when a dead upstream is back"
        );
    }
}
