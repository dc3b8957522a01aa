//! [`Forward`], the reverse proxy: one rule of the head a file, none of which does I/O, and the
//! exchange that applies them.

use std::{
    convert::Infallible,
    fmt,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use http::{
    Extensions, HeaderValue, Request, Response,
    header::{HOST, TE},
    request::Parts,
};
use http_body::Body;
use tower::Service;

use self::{
    answer::{Answer, Answering},
    body::Upload,
    expect::{Gate, Gated},
    forwarded::Client,
    future::Exchange,
    upgrade::Offer,
    via::Via,
};
use crate::{error::BoxError, origin::Origin, upstream::Upstream};

mod answer;
mod body;
mod cookie;
mod expect;
mod forwarded;
mod framing;
mod future;
mod hop;
mod list;
mod target;
mod trailers;
mod upgrade;
mod via;

pub use self::{body::ForwardBody, forwarded::ForwardedHeaders, future::ForwardFuture};

/// A reverse proxy as a service: every request goes to one origin, over an [`Upstream`]'s pool, and
/// its response comes back as it streams. What [`Upstream::forward_to`] returns.
///
/// It has no errors, so axum takes it as it is; what fails becomes a response.
///
/// ```
/// # use std::net::SocketAddr;
/// use axum::{Router, extract::ConnectInfo, routing::get};
/// use tower_upstream::Upstream;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn serve(app: Router) -> std::io::Result<String> {
/// #     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// #     let address = listener.local_addr()?;
/// #     let app = app.into_make_service_with_connect_info::<SocketAddr>();
/// #     tokio::spawn(async move { axum::serve(listener, app).await });
/// #     Ok(format!("http://{address}"))
/// # }
/// # let backend = serve(Router::new().route("/old", get(async || "from behind"))).await?;
/// let upstream = Upstream::builder().build()?;
/// let forward = upstream
///     .forward_to(backend.parse()?)
///     .client_address(|info: &ConnectInfo<SocketAddr>| info.ip());
/// let app = Router::new()
///     .route("/new", get(async || "from here"))
///     .fallback_service(forward);
/// # let front = serve(app).await?;
///
/// let response = upstream.get(format!("{front}/old")).await?;
/// assert_eq!(response.into_body().text(100).await?, "from behind");
/// # Ok(())
/// # }
/// ```
///
/// # What it does to a message
///
/// Path and query go on as they came, to the byte; `Router::nest_service` takes a prefix off.
/// Bodies stream both ways, no faster than the other side reads, with their trailers. Fields that
/// concern one connection only are removed first, those that `Connection` names included, and what
/// this proxy says is added after that, so that a client cannot have it taken away:
///
/// * `Host` is the origin's; see [`keep_host`](Self::keep_host).
/// * `Forwarded` and `X-Forwarded-*` say what the proxy knows; see
///   [`forwarded_headers`](Self::forwarded_headers).
/// * `Via` names the proxy, on responses too; see [`name`](Self::name). (nginx leaves the compression
///   to whoever asks it with one: its `gzip_proxied` is off by default.)
/// * `TE: trailers` stays if the client sent it. `Alt-Svc`, which is of the upstream's own address,
///   is not passed on.
///
/// A client that expects `100 Continue` is asked for its body once the upstream has asked for it, or
/// after one second. An upgrade, such as to WebSocket, is passed on and then tunnelled until either
/// side ends it, [`Upstream::drain`] does or its [idle timeout](Self::tunnel_idle_timeout); it counts
/// as a connection all the while, and of the other timeouts only `write` still holds. Not passed on are
/// an upgrade to another version of HTTP or to TLS, and other interim responses, which hyper's server
/// cannot send.
///
/// A gRPC call's `grpc-timeout` is kept, as [`GrpcDeadline`](crate::GrpcDeadline) tells.
///
/// # What it refuses
///
/// With `400` and a line of text: a request about whose end or host two readers could differ (two
/// lengths, a length beside a transfer coding, another coding than `chunked`, no host, two, or one that is
/// not plainly a host), and a target in another scheme. `CONNECT` and `TRACE` get `501`, a request that has
/// been here before `502`; an `OPTIONS` with `Max-Forwards: 0` is answered here.
///
/// # Errors
///
/// None of its own: a failure is answered with the [status](crate::Error::status) of its kind (but `413`
/// for a request body longer than a limit in front allows), that kind in words as plain text, and nothing
/// of the upstream; the [`Error`](crate::Error) itself is in
/// the response's extensions, for a log to find. To a gRPC request the same is said in gRPC's terms.
/// For a body that breaks off see [`ForwardBody`].
///
/// # Cancellation
///
/// Dropping its future or the response's body, as a server does when its client leaves, drops the
/// exchange with the upstream.
#[derive(Clone)]
#[must_use = "a service does nothing until it is called"]
pub struct Forward {
    upstream: Upstream,
    /// Shared by all clones: a server makes one for each request.
    settings: Arc<Settings>,
}

#[derive(Clone)]
struct Settings {
    origin: Origin,
    via: Via,
    keep_host: bool,
    forwarded: ForwardedHeaders,
    is_https: bool,
    proxy_status: bool,
    tunnel_idle_timeout: Option<Duration>,
    client_address: Option<ClientAddress>,
    on_request: Option<OnRequest>,
}

type ClientAddress = Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>;
type OnRequest = Arc<dyn Fn(&mut Parts) + Send + Sync>;

impl Upstream {
    /// A reverse proxy to this origin.
    pub fn forward_to(&self, origin: Origin) -> Forward {
        Forward {
            upstream: self.clone(),
            settings: Arc::new(Settings {
                origin,
                via: Via::new(via::any_name()),
                keep_host: false,
                forwarded: ForwardedHeaders::default(),
                is_https: false,
                proxy_status: false,
                tunnel_idle_timeout: None,
                client_address: None,
                on_request: None,
            }),
        }
    }
}

// === impl Forward ===

impl Forward {
    /// What it calls itself in `Via` and `Proxy-Status`: a word, or its host and port. A character
    /// that cannot stand there becomes `_`.
    ///
    /// A request that already has this name in its `Via` is refused, so proxies that stand in a row
    /// need different ones. Defaults to `tower-upstream-` and eight random hexadecimal digits.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.set().via = Via::new(via::clean_name(name.as_ref()));
        self
    }

    /// Whether the upstream gets the `Host` that the client asked for, in place of the origin's.
    ///
    /// Defaults to `false`.
    pub fn keep_host(mut self, keep: bool) -> Self {
        self.set().keep_host = keep;
        self
    }

    /// What becomes of `Forwarded` and `X-Forwarded-*`.
    ///
    /// Defaults to [`ForwardedHeaders::Replace`].
    pub fn forwarded_headers(mut self, policy: ForwardedHeaders) -> Self {
        self.set().forwarded = policy;
        self
    }

    /// Where the client's address is found: in the request's extension of this type, which the server
    /// puts there, such as axum's `ConnectInfo<SocketAddr>`.
    ///
    /// By default, and where the extension is missing, `Forwarded` says `for=unknown`, and there is no
    /// `X-Forwarded-For`.
    pub fn client_address<T: Send + Sync + 'static>(
        mut self,
        address: impl Fn(&T) -> IpAddr + Send + Sync + 'static,
    ) -> Self {
        self.set().client_address =
            Some(Arc::new(move |extensions| extensions.get().map(&address)));
        self
    }

    /// Whether clients reach this server by https, as the upstream is told.
    ///
    /// Defaults to `false`.
    pub fn https(mut self, is_https: bool) -> Self {
        self.set().is_https = is_https;
        self
    }

    /// Whether a failure is also told in a `Proxy-Status` field (RFC 9209), with the type of the
    /// error.
    ///
    /// Defaults to `false`.
    pub fn proxy_status(mut self, proxy_status: bool) -> Self {
        self.set().proxy_status = proxy_status;
        self
    }

    /// How long a tunnel, which an upgrade has opened, may be without a byte from either side. It is
    /// then closed on both, and its connection is given back.
    ///
    /// Defaults to no limit: a WebSocket whose sides ping each other less often would not survive
    /// one, and one whose client is gone without a word stays until the upstream or
    /// [`Upstream::drain`] ends it.
    pub fn tunnel_idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.set().tunnel_idle_timeout = limit.into();
        self
    }

    /// Has the last word on every request's head before it is sent. Its URI is that at the upstream.
    ///
    /// This is the place for fields that the upstream is to trust, such as credentials or a user's
    /// name: one that middleware in front of the proxy adds is among the client's own here, and
    /// the client can have it removed by naming it in `Connection`.
    ///
    /// ```
    /// use http::{HeaderValue, header::AUTHORIZATION};
    /// use tower_upstream::Upstream;
    ///
    /// # fn main() -> Result<(), tower_upstream::Error> {
    /// let upstream = Upstream::builder().build()?;
    /// let forward = upstream
    ///     .forward_to("http://api.internal".parse()?)
    ///     .on_request(|head| {
    ///         let token = HeaderValue::from_static("Bearer token");
    ///         head.headers.insert(AUTHORIZATION, token);
    ///     });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_request(mut self, edit: impl Fn(&mut Parts) + Send + Sync + 'static) -> Self {
        self.set().on_request = Some(Arc::new(edit));
        self
    }

    fn set(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

impl<B> Service<Request<B>> for Forward
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<ForwardBody>;
    type Error = Infallible;
    type Future = ForwardFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ForwardFuture {
        let (mut parts, body) = request.into_parts();
        let mut exchange = Exchange {
            settings: self.settings.clone(),
            answering: Answering::new(&parts.headers, parts.version),
            offer: None,
        };
        let call = match self.prepare(&mut parts, &body) {
            Ok(offer) => {
                exchange.offer = offer;
                Ok(self.upstream.send(gated(parts, body)))
            }
            Err(answer) => Err(answer),
        };
        ForwardFuture::new(call, exchange)
    }
}

impl Forward {
    /// Makes the client's request one of ours. The order matters: what the client says is read and
    /// then removed before anything is added.
    fn prepare(&self, parts: &mut Parts, body: &impl Body) -> Result<Option<Offer>, Answer> {
        let settings = &*self.settings;
        settings.via.check(&parts.headers)?;
        target::check_method(parts)?;
        framing::check(&mut parts.headers, body)?;
        let host = target::host(parts)?;
        parts.uri = target::at(&settings.origin, &parts.uri, &parts.method)?;
        let wants_trailers = list::has(&parts.headers, TE, "trailers");
        let has_body = !body.is_end_stream();
        let offer = Offer::take(parts, has_body, || self.upstream.tunnel());

        let headers = &mut parts.headers;
        hop::strip(headers);
        hop::strip_lookalikes(headers);
        headers.remove(HOST);

        cookie::join(headers);
        let address = settings.client_address.as_ref();
        let client = Client {
            address: address.and_then(|address| address(&parts.extensions)),
            host: host.as_ref(),
            is_https: settings.is_https,
        };
        settings.forwarded.apply(headers, client);
        settings.via.add(headers, parts.version);
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(offer) = &offer {
            offer.make(headers);
        }
        if let (true, Some(host)) = (settings.keep_host, host) {
            headers.insert(HOST, host);
        }
        framing::declare(parts, body);
        if let Some(edit) = &settings.on_request {
            edit(parts);
        }
        Ok(offer)
    }
}

/// The request as it is sent: its body waits where the upstream is to ask for it.
fn gated<B: Body>(parts: Parts, body: B) -> Request<Upload<B>> {
    if body.is_end_stream() || !expect::is_expected(&parts.headers) {
        return Request::from_parts(parts, Upload::new(body, None));
    }
    let gate = Gate::default();
    let upload = Upload::new(body, Some(Gated::new(gate.clone())));
    let mut request = Request::from_parts(parts, upload);
    hyper::ext::on_informational(&mut request, move |interim| {
        gate.on_informational(interim.status());
    });
    request
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            origin,
            via,
            keep_host,
            forwarded,
            is_https,
            proxy_status,
            tunnel_idle_timeout,
            client_address: _,
            on_request: _,
        } = &*self.settings;
        f.debug_struct("Forward")
            .field("origin", origin)
            .field("name", &via.name())
            .field("keep_host", keep_host)
            .field("forwarded_headers", forwarded)
            .field("https", is_https)
            .field("proxy_status", proxy_status)
            .field("tunnel_idle_timeout", tunnel_idle_timeout)
            .finish_non_exhaustive()
    }
}
