use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::Connection;
use tower::Service;

use super::{Upstream, protocol::Protocols};
#[cfg(feature = "rustls")]
use crate::connect::{Tls, TlsSettings};
use crate::{
    config::{Limits, RemainderPolicy, Timeouts, bounded},
    conn::Http2Settings,
    connect::{AddressFilter, Connect, Custom, DefaultConnector, Tcp},
    error::{BoxError, Error},
    pool::Pool,
};

/// Sets up an [`Upstream`]; see [`Upstream::builder`].
///
/// ```
/// use std::time::Duration;
///
/// use tower_upstream::{Limits, RemainderPolicy, Timeouts, Upstream};
///
/// # fn main() -> Result<(), tower_upstream::Error> {
/// let upstream = Upstream::builder()
///     .limits(Limits::new().max_connections(50).max_connections_per_origin(20))
///     .timeouts(Timeouts::new(Duration::from_secs(2)).total(Duration::from_secs(30)))
///     .remainder(RemainderPolicy::close())
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct UpstreamBuilder {
    limits: Limits,
    timeouts: Timeouts,
    remainder: RemainderPolicy,
    resend: bool,
    protocols: Protocols,
    http2: Http2Settings,
    allow: Option<AddressFilter>,
    #[cfg(feature = "rustls")]
    tls: TlsSettings,
    connector: Option<Box<dyn Connect>>,
}

impl UpstreamBuilder {
    pub(super) fn new() -> Self {
        Self {
            limits: Limits::new(),
            timeouts: Timeouts::default(),
            remainder: RemainderPolicy::new(),
            resend: true,
            protocols: Protocols::default(),
            http2: Http2Settings::default(),
            allow: None,
            #[cfg(feature = "rustls")]
            tls: TlsSettings::default(),
            connector: None,
        }
    }

    /// How many connections and waiting requests there may be. Defaults to [`Limits::new`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long each phase of an exchange may take. Defaults to 5 s each.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// What becomes of the rest of a body that is dropped before its end. Defaults to
    /// [`RemainderPolicy::new`].
    pub fn remainder(mut self, policy: RemainderPolicy) -> Self {
        self.remainder = policy;
        self
    }

    /// Whether an idempotent request without a body is sent once more when the connection it went out
    /// on ended before a byte of the response (RFC 9110 §9.2.2), or an upstream that leaves says that it
    /// has not looked at it (RFC 9113 §6.8). Without it no request ever leaves twice; one that was
    /// provably not sent is tried on another connection all the same.
    ///
    /// Defaults to `true`: an upstream may close a kept connection in the instant in which it is used.
    pub fn resend_idempotent(mut self, resend: bool) -> Self {
        self.resend = resend;
        self
    }

    /// Speak HTTP/2 only: by prior knowledge over plain HTTP (RFC 9113 §3.3), and as the only
    /// protocol offered in TLS.
    ///
    /// Defaults to HTTP/2 where TLS negotiates it and for gRPC requests (content type
    /// `application/grpc*`), and HTTP/1.1 otherwise. A request's version decides nothing.
    pub fn http2_prior_knowledge(mut self) -> Self {
        self.protocols = Protocols::Http2Only;
        self
    }

    /// Speak HTTP/1.1 only, whatever TLS could negotiate.
    ///
    /// Defaults to HTTP/2 where TLS negotiates it and for gRPC requests.
    pub fn http1_only(mut self) -> Self {
        self.protocols = Protocols::Http1Only;
        self
    }

    /// How many bytes of one HTTP/2 response may be on their way before they are read. A connection's
    /// own window has room for that of each of its streams, so that one that is not read holds up no
    /// other; both together bound the memory of a connection.
    ///
    /// Defaults to 256 KiB. Less keeps small what a cut body wastes; more lets one response be faster
    /// over a long way. Between 1 byte and 2 GiB - 1 (RFC 9113 §6.9.1), else `build` refuses it.
    pub fn http2_stream_window(mut self, bytes: u32) -> Self {
        self.http2.stream_window = bytes;
        self
    }

    /// Ping an HTTP/2 connection that has open streams and on which nothing has come for `interval`,
    /// and give it up when the answer does not come within `timeout`. Some gRPC servers close
    /// connections that are pinged more often than every five minutes.
    ///
    /// Defaults to no pings: a dead upstream is then noticed by the `read` timeout. An interval of 0 is
    /// refused by `build`.
    pub fn http2_keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.http2.ping_interval = Some(bounded(interval));
        self.http2.ping_timeout = bounded(timeout);
        self
    }

    /// Connect to addresses only for which this says true. It is asked for every address that a
    /// dial would use, one written out in a URI included, after the name was looked up: so a URI
    /// from user input cannot reach inside, whatever its name resolves to by then. IPv4 addresses
    /// mapped into IPv6 come as IPv4. [`public_addresses`](crate::public_addresses) is ready-made.
    ///
    /// Defaults to allowing all.
    ///
    /// ```
    /// # use tower_upstream::{public_addresses, ErrorKind, Upstream};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_upstream::Error> {
    /// let upstream = Upstream::builder()
    ///     .allow_addresses(public_addresses)
    ///     .build()?;
    /// let error = upstream.get("http://127.0.0.1/admin").await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TargetDenied);
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow_addresses(
        mut self,
        allow: impl Fn(&IpAddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.allow = Some(Arc::new(allow));
        self
    }

    /// The TLS configuration for https: certificates to trust, a client certificate. ALPN is set by
    /// the handle.
    ///
    /// Defaults to the platform's certificate verifier, with ring; it is set up when it is first
    /// needed. Where the platform has no certificates, https fails with
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) then. `rustls` is version 0.23 here: add it to your
    /// own dependencies.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn tls(mut self, config: rustls::ClientConfig) -> Self {
        self.tls.config = Some(config);
        self
    }

    /// Trust these authorities beside the platform's: for a private one, or in tests.
    ///
    /// Defaults to none. Beside [`tls`](Self::tls), which has a verifier of its own, they are an
    /// error.
    ///
    /// ```no_run
    /// use rustls::pki_types::{CertificateDer, pem::PemObject};
    /// use tower_upstream::Upstream;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let authorities = CertificateDer::pem_file_iter("ca.pem")?.collect::<Result<Vec<_>, _>>()?;
    /// let upstream = Upstream::builder()
    ///     .root_certificates(authorities)
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn root_certificates(
        mut self,
        roots: impl IntoIterator<Item = rustls::pki_types::CertificateDer<'static>>,
    ) -> Self {
        self.tls.roots.extend(roots);
        self
    }

    /// Opens connections in another way than by TCP and TLS: any service that also fits
    /// hyper-util's client. It is given the origin as a URI, and is called once for each
    /// connection; what it returns must be a single socket for the limits to be exact.
    ///
    /// Defaults to TCP and rustls. Beside [`allow_addresses`](Self::allow_addresses), `tls` or
    /// `root_certificates`, which it would not see, it is an error. `examples/unix_socket.rs` has one of
    /// its own.
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    ///
    /// use hyper_util::client::legacy::connect::HttpConnector;
    /// use tower_upstream::Upstream;
    ///
    /// # fn main() -> Result<(), tower_upstream::Error> {
    /// let mut connector = HttpConnector::new();
    /// connector.set_local_address(Some(Ipv4Addr::LOCALHOST.into()));
    /// // Else it may have two sockets at a time.
    /// connector.set_happy_eyeballs_timeout(None);
    /// let upstream = Upstream::builder().connector(connector).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connector<C>(mut self, connector: C) -> Self
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: Read + Write + Connection + Send + Unpin + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
    {
        self.connector = Some(Box::new(Custom(connector)));
        self
    }

    /// The handle.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the value that cannot work and what
    /// would.
    pub fn build(self) -> Result<Upstream, Error> {
        self.limits.validate()?;
        self.http2.validate()?;
        let connector = match self.connector {
            None => Box::new(DefaultConnector {
                tcp: Tcp::new(self.allow),
                #[cfg(feature = "rustls")]
                tls: Tls::new(self.tls, self.protocols.alpn())?,
            }),
            Some(_) if self.allow.is_some() => {
                return Err(Error::config(
                    "allow_addresses is set beside a connector, which would not ask it: \
                     let the connector check its addresses itself",
                ));
            }
            #[cfg(feature = "rustls")]
            Some(_) if self.tls.is_set() => {
                return Err(Error::config(
                    "tls or root_certificates are set beside a connector, which would not use them: \
                     set TLS up in the connector itself",
                ));
            }
            Some(connector) => connector,
        };
        let pool = Pool::new(self.limits, self.remainder, self.http2, connector);
        Ok(Upstream::new(
            pool,
            self.timeouts,
            self.protocols,
            self.resend,
        ))
    }
}

impl fmt::Debug for UpstreamBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBuilder")
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .field("remainder", &self.remainder)
            .finish_non_exhaustive()
    }
}
