use tower::Layer;

use super::{Truncate, TruncateService};

/// Cuts every response of a service: see [`Truncate`].
///
/// It fits any tower service of HTTP, on either side: around an axum router, a tonic server or a
/// client. It adds no error of its own.
///
/// # Example
///
/// ```
/// use tower::{ServiceBuilder, service_fn};
/// use tower_upstream::{Truncate, TruncateLayer};
/// # use std::convert::Infallible;
/// # use http::{Request, Response};
/// # use http_body_util::Full;
/// # use bytes::Bytes;
/// # async fn handler(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
/// #     Ok(Response::new(Full::default()))
/// # }
///
/// let service = ServiceBuilder::new()
///     .layer(TruncateLayer::new(Truncate::bytes(1024)))
///     .service(service_fn(handler));
/// # let _: &dyn tower::Service<Request<Full<Bytes>>, Response = _, Error = _, Future = _> = &service;
/// ```
#[derive(Clone, Debug)]
pub struct TruncateLayer {
    truncate: Truncate,
}

impl TruncateLayer {
    /// A layer that cuts as `truncate` says.
    #[must_use]
    pub fn new(truncate: Truncate) -> Self {
        Self { truncate }
    }
}

impl<S> Layer<S> for TruncateLayer {
    type Service = TruncateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TruncateService::new(inner, self.truncate.clone())
    }
}
