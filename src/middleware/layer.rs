use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::{UpstreamService, admission::Admission};
use crate::{Truncate, Upstream};

const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// Gives every handler the shared [`Upstream`], and bounds how many requests are at work at once.
///
/// By itself it only puts the handle into the request's extensions, where the extractor of the
/// feature `axum`, or `request.extensions().get::<Upstream>()`, finds it.
///
/// With [`max_in_flight`](Self::max_in_flight), it also admits requests: so many are at work, so
/// many more wait for a place, and the rest is refused at once. A request is at work until its
/// response *body* ends, fails or is dropped (an upgrade: until its head), and waits inside the
/// call: an idle connection takes no place, nor does the service's `poll_ready`. What is refused gets
/// a response rather than an error, so the service below keeps its error type and axum needs no
/// `HandleErrorLayer`:
///
/// * `503 Service Unavailable` with `Retry-After` and one line of text; or
/// * for a gRPC request, the status `RESOURCE_EXHAUSTED` (8), as tonic's own load shedding.
///
/// [`truncate`](Self::truncate) makes the responses previews of themselves.
///
/// This is [`limit::UntilBodyEndLayer`](crate::limit::UntilBodyEndLayer) over tower's limits: see
/// [`limit`](crate::limit) for the stack, and to build another.
///
/// All clones of a layer, and all services it makes, share one budget: `Router::layer` applies it
/// to each route, and the limit counts them all together. Setting a limit makes a new budget.
///
/// # With tonic
///
/// Around all services it goes into `Server::builder().layer(..)`, around one of them it is put by
/// tonic's `LayerExt::named_layer`. A call keeps its place until its stream's trailers.
///
/// A gRPC-Web request is refused by a status if the layer is inside tonic-web's `GrpcWebLayer`, where
/// the request is gRPC. Outside it is HTTP like any other, and gRPC-Web's clients take the 503 for
/// `UNAVAILABLE`.
///
/// # Several upstreams
///
/// A type has one place in the extensions: of two layers, a handler sees the handle of the inner
/// one. An application with several handles keeps them in a struct of its own, in axum's `State`:
///
/// ```
/// use axum::{Router, extract::State, routing::get};
/// use tower_upstream::{Error, Upstream};
///
/// #[derive(Clone)]
/// struct Upstreams {
///     users: Upstream,
///     orders: Upstream,
/// }
///
/// async fn front(State(upstreams): State<Upstreams>) -> Result<String, Error> {
///     let users = upstreams.users.get("http://users.internal/").await?;
///     let orders = upstreams.orders.get("http://orders.internal/").await?;
///     Ok(users.into_body().text(65_536).await? + &orders.into_body().text(65_536).await?)
/// }
///
/// # fn router() -> Result<Router, Error> {
/// let upstreams = Upstreams {
///     users: Upstream::builder().build()?,
///     orders: Upstream::builder().build()?,
/// };
/// let app = Router::new().route("/", get(front)).with_state(upstreams);
/// # Ok(app)
/// # }
/// ```
///
/// # Example
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_upstream::{Upstream, UpstreamLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let upstream = Upstream::builder().build()?;
///
/// let service = ServiceBuilder::new()
///     .layer(
///         UpstreamLayer::new(upstream)
///             .max_in_flight(100)
///             .max_pending(50)
///             .wait(Duration::from_secs(1)),
///     )
///     .service(service_fn(async |request: Request<Full<Bytes>>| {
///         let upstream = request.extensions().get::<Upstream>();
///         assert!(upstream.is_some());
///         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
///     }));
///
/// let response = service.oneshot(Request::new(Full::default())).await?;
/// assert!(response.status().is_success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct UpstreamLayer {
    upstream: Upstream,
    max_in_flight: Option<usize>,
    max_pending: Option<usize>,
    wait: Duration,
    // Of the three above; None without a limit.
    admission: Option<Admission>,
    truncate: Option<Truncate>,
    proxy_status: Option<Arc<str>>,
}

impl UpstreamLayer {
    /// Puts `upstream` into the extensions of every request, and limits nothing.
    #[must_use]
    pub fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            max_in_flight: None,
            max_pending: None,
            wait: DEFAULT_WAIT,
            admission: None,
            truncate: None,
            proxy_status: None,
        }
    }

    /// How many requests may be at work at once, their response bodies included. Defaults to no
    /// limit.
    ///
    /// # Panics
    ///
    /// If it is 0: no request could ever be served.
    #[must_use]
    #[track_caller]
    pub fn max_in_flight(self, requests: usize) -> Self {
        assert!(
            requests > 0,
            "max_in_flight is 0, and no request could ever be served: set it to at least 1"
        );
        Self {
            max_in_flight: Some(requests),
            ..self
        }
        .with_new_budget()
    }

    /// How many more requests may wait for a place, first come, first served. Defaults to as many as
    /// [`max_in_flight`](Self::max_in_flight), without which it has no effect. With 0 none waits.
    #[must_use]
    pub fn max_pending(self, requests: usize) -> Self {
        Self {
            max_pending: Some(requests),
            ..self
        }
        .with_new_budget()
    }

    /// For how long a request waits for a place before it is refused. Defaults to 5 seconds.
    #[must_use]
    pub fn wait(self, limit: Duration) -> Self {
        Self {
            wait: limit,
            ..self
        }
        .with_new_budget()
    }

    /// Cuts every response, as a [`TruncateLayer`](crate::TruncateLayer) inside the limit does.
    /// Defaults to whole responses.
    ///
    /// A response that has reached its limit gives its place to the next request, since the rest of
    /// it is dropped. A refusal is never cut.
    #[must_use]
    pub fn truncate(self, truncate: Truncate) -> Self {
        Self {
            truncate: Some(truncate),
            ..self
        }
    }

    /// Tells of a refusal in a `Proxy-Status` header too ([RFC 9209]), by this name of the server.
    /// Defaults to no such header.
    ///
    /// Characters that the header cannot carry, which are all but printable ASCII, become `_`.
    ///
    /// [RFC 9209]: https://www.rfc-editor.org/rfc/rfc9209
    #[must_use]
    pub fn proxy_status(self, name: &str) -> Self {
        Self {
            proxy_status: Some(name.into()),
            ..self
        }
    }

    fn with_new_budget(mut self) -> Self {
        self.admission = self.max_in_flight.map(|max_in_flight| {
            let max_pending = self.max_pending.unwrap_or(max_in_flight);
            Admission::new(max_in_flight, max_pending, self.wait)
        });
        self
    }
}

impl<S> Layer<S> for UpstreamLayer {
    type Service = UpstreamService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        UpstreamService::new(
            inner,
            self.upstream.clone(),
            self.admission.as_ref(),
            self.truncate.clone(),
            self.proxy_status.clone(),
        )
    }
}
