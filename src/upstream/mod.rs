use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::future::join;
use http::{Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::Empty;
use tower::Service;

use self::{protocol::Protocols, tunnel::Tunnels};
use crate::{
    config::{Limits, Timeouts},
    conn::RequestBody,
    error::{BoxError, Error, ErrorKind},
    origin::Origin,
    pool::Pool,
    stats::{Drained, Stats},
};

mod at;
mod body;
mod builder;
mod call;
mod failure;
mod head;
mod place;
mod protocol;
mod reply;
mod total;
mod tries;
mod tunnel;

pub(crate) use self::tunnel::Tunnel;
pub use self::{at::AtOrigin, body::UpstreamBody, builder::UpstreamBuilder};

/// The shared handle to the upstreams: one per application, cloned to wherever requests are made.
///
/// It owns a pool of connections, bounded by [`Limits`], and is a [`Service`] for requests with
/// absolute URIs, whatever their body. [`send`](Self::send) and [`get`](Self::get) do the same
/// without a trait in scope.
///
/// As a service it is always ready and reserves nothing: waiting for a connection happens inside
/// the call, in a bounded queue and under a deadline. Since it is a service for every type of body,
/// `upstream.ready().await?` needs the type spelt out; [`tower::ServiceExt::oneshot`] does not.
///
/// ```
/// # use axum::{Router, routing::get};
/// use tower_upstream::{Limits, Upstream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?;
/// # let app = Router::new().route("/", get(|| async { "hello" }));
/// # tokio::spawn(async move { axum::serve(listener, app).await });
/// let upstream = Upstream::builder()
///     .limits(Limits::new().max_connections(10))
///     .build()?;
///
/// let response = upstream.get(format!("http://{address}/")).await?;
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.into_body().text(1024).await?, "hello");
/// assert_eq!(upstream.stats().total.idle, 1, "the connection is kept");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error`], whose [`kind`](Error::kind) tells what happened and whose [`phase`](Error::phase)
/// where.
///
/// # Cancellation
///
/// Drop a future or a body at any point, and what it held is given back: its place in the queue,
/// its connection (closed, or over HTTP/2 its stream reset, if a request or a large rest of a response
/// was under way), its memory. A dial it had set off is the pool's and may still end in an idle connection.
///
/// When the last clone is dropped, what is idle closes at once, and each body that is still being
/// read keeps its connection to its end. [`drain`](Self::drain) waits for that.
///
/// # Panics
///
/// Requests need a tokio runtime with its I/O and time drivers enabled, and panic without.
#[derive(Clone)]
pub struct Upstream {
    handle: Arc<Handle>,
}

struct Handle {
    pool: Arc<Pool>,
    timeouts: Timeouts,
    protocols: Protocols,
    /// Whether a request may be sent twice.
    resend: bool,
    tunnels: Tunnels,
}

/// The future of a response's head.
///
/// Dropped before its end, it closes the connection it was using, if any; over HTTP/2 it resets its
/// stream.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    /// Boxed, since hyper's futures have no name.
    exchange: Pin<Box<dyn Future<Output = Result<Response<UpstreamBody>, Error>> + Send>>,
}

// === impl Upstream ===

impl Upstream {
    /// Begins to set up a handle.
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder::new()
    }

    fn new(pool: Arc<Pool>, timeouts: Timeouts, protocols: Protocols, resend: bool) -> Self {
        Self {
            handle: Arc::new(Handle {
                pool,
                timeouts,
                protocols,
                resend,
                tunnels: Tunnels::default(),
            }),
        }
    }

    /// Sends a request with an absolute URI, and resolves to the response's head. The body is
    /// streamed, and holds its connection until it ends or is dropped.
    ///
    /// A `Host` header is added where there is none. [`Timeouts`] in the request's extensions take
    /// the place of the handle's.
    ///
    /// The request is sent at most once, but for these cases. On a connection that had served before:
    /// if it was provably not sent, it is tried on up to two new ones; and if it is idempotent
    /// (RFC 9110 §9.2.2) and without a body, and the connection, or over HTTP/2 its stream, ended before
    /// a byte of the response, it is sent once more on a new one. On any HTTP/2 connection: if it is
    /// idempotent and without a body, and a GOAWAY says that it was not looked at, it is sent again, at
    /// most twice. [`resend_idempotent`](UpstreamBuilder::resend_idempotent) turns off all but the first.
    ///
    /// # Errors
    ///
    /// Those of the phases up to the response's head: the [crate's documentation](crate) shows which
    /// phase ends in which. A status of 400 or more is a response, and no error.
    pub fn send<B>(&self, request: Request<B>) -> ResponseFuture
    where
        B: Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<BoxError>,
    {
        let request = request.map(RequestBody::new);
        ResponseFuture {
            exchange: Box::pin(call::exchange(self.handle.clone(), request)),
        }
    }

    /// Sends a GET request to an absolute URI, as [`send`](Self::send) does.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send)'s; [`ErrorKind::InvalidTarget`] for what is not a URI.
    pub fn get<U>(&self, uri: U) -> ResponseFuture
    where
        U: TryInto<Uri>,
        U::Error: Into<http::Error>,
    {
        match uri.try_into() {
            Ok(uri) => {
                let mut request = Request::new(Empty::<Bytes>::new());
                *request.method_mut() = Method::GET;
                *request.uri_mut() = uri;
                self.send(request)
            }
            Err(error) => {
                let error = Error::new(ErrorKind::InvalidTarget)
                    .with_detail("not a URI: it should look like http://example.com/path")
                    .with_source(error.into());
                ResponseFuture {
                    exchange: Box::pin(std::future::ready(Err(error))),
                }
            }
        }
    }

    /// A service that sends requests with relative URIs to this origin: for tonic's generated
    /// clients, and for tower's load balancing.
    pub fn at(&self, origin: Origin) -> AtOrigin {
        AtOrigin::new(self.clone(), origin)
    }

    /// What the pool holds now and has done so far. It costs a look at every connection.
    ///
    /// ```
    /// use tower_upstream::{CloseCause, Phase, Upstream};
    ///
    /// # fn main() -> Result<(), tower_upstream::Error> {
    /// let upstream = Upstream::builder().build()?;
    /// let stats = upstream.stats();
    /// assert_eq!(stats.total.open, 0);
    /// assert_eq!(stats.timed_out(Phase::Pool), 0);
    /// assert_eq!(stats.closed(CloseCause::Remote), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.pool.stats()
    }

    /// Changes the limits from now on, all of them: what is not set is at its default. Lower ones
    /// close what is idle first, cut no exchange, and begin no dial until the number of connections has
    /// come down to them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], and nothing changes, where the builder would refuse them.
    ///
    /// ```
    /// use tower_upstream::{ErrorKind, Limits, Upstream};
    ///
    /// # fn main() -> Result<(), tower_upstream::Error> {
    /// let limits = Limits::new().max_connections(10).max_idle_connections(5);
    /// let upstream = Upstream::builder().limits(limits).build()?;
    /// upstream.set_limits(limits.max_connections(20))?;
    ///
    /// let error = upstream.set_limits(limits.max_connections(0)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_limits(&self, limits: Limits) -> Result<(), Error> {
        limits.validate()?;
        self.handle.pool.set_limits(limits);
        Ok(())
    }

    /// Shuts the pool down. New requests are refused at once with [`ErrorKind::Draining`] and idle
    /// connections closed; requests that came before, those that still wait for a connection
    /// included, go on for at most `deadline` from now and are then aborted. Returns within 100 ms of that, with
    /// no socket open but those that an upgrade has handed to the caller; those of a
    /// [`Forward`](crate::Forward) are in flight for as long as they are open.
    ///
    /// All clones of the handle are affected, for good. In a server, call it once the server has
    /// stopped taking requests.
    ///
    /// # Cancellation
    ///
    /// Dropped before its end, it leaves the pool draining, without a deadline.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use tower_upstream::{ErrorKind, Upstream};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_upstream::Error> {
    /// let upstream = Upstream::builder().build()?;
    /// let drained = upstream.drain(Duration::from_secs(10)).await;
    /// assert_eq!(drained.aborted, 0, "nothing was under way");
    ///
    /// let error = upstream.get("http://127.0.0.1:8000/").await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Draining);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let Handle { pool, tunnels, .. } = &*self.handle;
        let (mut drained, ()) = join(pool.drain(deadline), tunnels.end(deadline)).await;
        // The pool, which does not wait for them, has counted those that were to end.
        drained.upgraded = pool.stats().total.upgraded;
        drained
    }

    /// A place for a tunnel that a drain waits for, and ends at its deadline.
    pub(crate) fn tunnel(&self) -> Tunnel {
        self.handle.tunnels.register()
    }
}

impl<B> Service<Request<B>> for Upstream
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<UpstreamBody>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        self.send(request)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("timeouts", &self.handle.timeouts)
            .field("pool", &self.handle.pool)
            .finish()
    }
}

// === impl Handle ===

impl Drop for Handle {
    fn drop(&mut self) {
        self.pool.close();
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<Response<UpstreamBody>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.exchange.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
