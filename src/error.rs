use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::origin::Origin;

/// Any error, boxed.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why an exchange with an upstream, or the setting up of an [`Upstream`](crate::Upstream), failed.
///
/// One word big and cheap to clone. [`kind`](Self::kind) says what happened, and each kind has one
/// HTTP status, one gRPC code and one [RFC 9209] error type. `Display` says this level only:
/// [`source`](StdError::source) carries the rest. Neither ever shows a query, credentials or a
/// header's value.
///
/// What goes to a client over the wire should be the kind alone, since the message names the
/// origin: `error.kind().to_string()`.
///
/// [RFC 9209]: https://www.rfc-editor.org/rfc/rfc9209
///
/// ```
/// use tower_upstream::{ErrorKind, Limits, Upstream};
///
/// let error = Upstream::builder()
///     .limits(Limits::new().max_connections(0))
///     .build()
///     .unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Config);
/// assert_eq!(
///     error.to_string(),
///     "max_connections is 0, and no request could ever be sent: set it to at least 1"
/// );
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    phase: Option<Phase>,
    origin: Option<Origin>,
    /// How long the phase was given, for a timeout.
    after: Option<Duration>,
    /// Which value was wrong, and what would be right.
    detail: Option<Arc<str>>,
    sent: bool,
    /// Shared, since one failed dial can answer several requests.
    source: Option<Arc<dyn StdError + Send + Sync>>,
    #[cfg(feature = "tonic")]
    told: crate::status::Told,
}

/// What happened. Each kind maps to one HTTP status, one gRPC code and one RFC 9209 error type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is wrong: the builder, a limit.
    Config,
    /// The request's URI is not one that can be called: relative, or not http or https.
    InvalidTarget,
    /// The address filter forbids every address of the target.
    TargetDenied,
    /// No connection came free within the `pool` timeout.
    PoolTimeout,
    /// More requests are waiting for a connection than `max_pending` allows.
    QueueFull,
    /// The handle is draining: it takes no new requests, and aborts the rest at its deadline.
    Draining,
    /// The name could not be looked up.
    Dns,
    /// The connection was not established within the `connect` timeout.
    ConnectTimeout,
    /// The upstream refused the connection.
    ConnectRefused,
    /// There is no route to the upstream.
    Unreachable,
    /// The connection could not be established for another reason.
    Connect,
    /// This process or machine has no file descriptor or port left for another socket.
    OutOfSockets,
    /// The TLS handshake failed.
    Tls,
    /// The upstream's certificate was not accepted.
    TlsCertificate,
    /// The upstream ended the TLS handshake with an alert.
    TlsAlert,
    /// The upstream took no bytes of the request within the `write` timeout.
    WriteTimeout,
    /// The upstream sent nothing within the `read` timeout.
    ReadTimeout,
    /// The exchange was not over within the `total` timeout.
    TotalTimeout,
    /// The upstream closed the connection before the response's head.
    Closed,
    /// The upstream ended the request's HTTP/2 stream, or its whole connection by a GOAWAY, before
    /// the response's head. Where it says that it has not looked at the request,
    /// [`was_sent`](Error::was_sent) is false.
    Reset,
    /// What the upstream sent is not HTTP.
    Protocol,
    /// The response's head is larger than is accepted.
    HeadTooLarge,
    /// The response's body is larger than the caller's bound.
    BodyTooLarge,
    /// The response's body broke off before its end.
    BodyIncomplete,
    /// The response's body is not text in a charset that can be read.
    Decode,
    /// The request's own body failed.
    RequestBody,
    /// A bug or a panic in this crate, a connector or another hook.
    Internal,
}

/// The part of an exchange in which it failed. Each has a timeout of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a connection.
    Pool,
    /// Looking the name up, connecting, the TLS handshake.
    Connect,
    /// Sending the request.
    Write,
    /// Waiting for the response's head, or for the next piece of its body.
    Read,
}

/// What one kind is to the outside: a row of the table.
struct Row {
    http: StatusCode,
    grpc: i32,
    proxy_status: &'static str,
    text: &'static str,
}

impl ErrorKind {
    /// The one table: kind → HTTP status, gRPC code, RFC 9209 §2.3 error type, plain words.
    ///
    /// gRPC: what was never sent is UNAVAILABLE (14), which clients may retry; what timed out after
    /// it was sent is DEADLINE_EXCEEDED (4).
    const fn row(self) -> Row {
        use StatusCode as S;
        let (http, grpc, proxy_status, text) = match self {
            Self::Config => (
                S::INTERNAL_SERVER_ERROR,
                13,
                "proxy_configuration_error",
                "upstream misconfigured",
            ),
            Self::InvalidTarget => (
                S::BAD_REQUEST,
                3,
                "http_request_error",
                "invalid upstream target",
            ),
            Self::TargetDenied => (
                S::BAD_GATEWAY,
                7,
                "destination_ip_prohibited",
                "upstream target not allowed",
            ),
            Self::PoolTimeout => (
                S::SERVICE_UNAVAILABLE,
                14,
                "connection_limit_reached",
                "no upstream connection came free in time",
            ),
            Self::QueueFull => (
                S::SERVICE_UNAVAILABLE,
                14,
                "connection_limit_reached",
                "too many requests are waiting for an upstream connection",
            ),
            Self::Draining => (
                S::SERVICE_UNAVAILABLE,
                14,
                "proxy_internal_response",
                "shutting down",
            ),
            Self::Dns => (
                S::BAD_GATEWAY,
                14,
                "dns_error",
                "upstream name lookup failed",
            ),
            Self::ConnectTimeout => (
                S::GATEWAY_TIMEOUT,
                14,
                "connection_timeout",
                "upstream connect timed out",
            ),
            Self::ConnectRefused => (
                S::BAD_GATEWAY,
                14,
                "connection_refused",
                "upstream refused the connection",
            ),
            Self::Unreachable => (
                S::BAD_GATEWAY,
                14,
                "destination_ip_unroutable",
                "upstream unreachable",
            ),
            Self::Connect => (
                S::BAD_GATEWAY,
                14,
                "destination_unavailable",
                "upstream connect failed",
            ),
            Self::OutOfSockets => (
                S::SERVICE_UNAVAILABLE,
                14,
                "connection_limit_reached",
                "no socket left for an upstream connection",
            ),
            Self::Tls => (
                S::BAD_GATEWAY,
                14,
                "tls_protocol_error",
                "upstream TLS handshake failed",
            ),
            Self::TlsCertificate => (
                S::BAD_GATEWAY,
                14,
                "tls_certificate_error",
                "upstream certificate not accepted",
            ),
            Self::TlsAlert => (
                S::BAD_GATEWAY,
                14,
                "tls_alert_received",
                "upstream ended the TLS handshake",
            ),
            Self::WriteTimeout => (
                S::GATEWAY_TIMEOUT,
                4,
                "connection_write_timeout",
                "upstream write timed out",
            ),
            Self::ReadTimeout => (
                S::GATEWAY_TIMEOUT,
                4,
                "connection_read_timeout",
                "upstream read timed out",
            ),
            Self::TotalTimeout => (
                S::GATEWAY_TIMEOUT,
                4,
                "http_response_timeout",
                "upstream exchange timed out",
            ),
            Self::Closed => (
                S::BAD_GATEWAY,
                14,
                "connection_terminated",
                "upstream closed the connection before it answered",
            ),
            Self::Reset => (
                S::BAD_GATEWAY,
                14,
                "connection_terminated",
                "upstream reset the request",
            ),
            Self::Protocol => (
                S::BAD_GATEWAY,
                13,
                "http_protocol_error",
                "upstream sent an invalid response",
            ),
            Self::HeadTooLarge => (
                S::BAD_GATEWAY,
                13,
                "http_response_header_section_size",
                "upstream response head too large",
            ),
            Self::BodyTooLarge => (
                S::BAD_GATEWAY,
                8,
                "http_response_body_size",
                "upstream response body too large",
            ),
            Self::BodyIncomplete => (
                S::BAD_GATEWAY,
                14,
                "http_response_incomplete",
                "upstream response broke off",
            ),
            Self::Decode => (
                S::BAD_GATEWAY,
                13,
                "http_response_content_coding",
                "upstream response could not be decoded",
            ),
            Self::RequestBody => (
                S::BAD_REQUEST,
                13,
                "http_request_error",
                "request body failed",
            ),
            Self::Internal => (
                S::INTERNAL_SERVER_ERROR,
                13,
                "proxy_internal_error",
                "internal error",
            ),
        };
        Row {
            http,
            grpc,
            proxy_status,
            text,
        }
    }

    /// The HTTP status a gateway answers with, as RFC 9209 §2.3 recommends it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().http
    }

    /// The gRPC status code, as a number (`14` is UNAVAILABLE).
    #[must_use]
    pub const fn grpc_code(self) -> i32 {
        self.row().grpc
    }

    /// The error type for a `Proxy-Status` header (RFC 9209 §2.3).
    #[must_use]
    pub const fn proxy_status(self) -> &'static str {
        self.row().proxy_status
    }

    /// Whether a timeout ran out: pool, connect, write, read or total.
    #[must_use]
    pub const fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::PoolTimeout
                | Self::ConnectTimeout
                | Self::WriteTimeout
                | Self::ReadTimeout
                | Self::TotalTimeout
        )
    }
}

/// The kind in plain words, with nothing that a client must not see.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().text)
    }
}

/// The phase's name, in lower case: that of its timeout's setter.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool",
            Self::Connect => "connect",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

// === impl Error ===

impl Error {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The phase in which it happened, where it happened in one.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.inner.phase
    }

    /// The upstream's origin, once it is known.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.inner.origin.as_ref()
    }

    /// Whether a timeout ran out; [`phase`](Self::phase) tells which.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind().is_timeout()
    }

    /// Whether any of the request may have reached the upstream. What was not sent is safe to send
    /// again, whatever its method.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.inner.sent
    }

    /// The HTTP status a gateway answers with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind().status()
    }

    /// The gRPC status code, as a number.
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        self.kind().grpc_code()
    }

    /// The error type for a `Proxy-Status` header (RFC 9209 §2.3).
    #[must_use]
    pub fn proxy_status(&self) -> &'static str {
        self.kind().proxy_status()
    }

    /// The first error of this type in `error`'s chain of sources, `error` itself included: for
    /// services that box what is below them.
    ///
    /// ```
    /// # use tower_upstream::{Error, ErrorKind, Origin};
    /// let error: Box<dyn std::error::Error> = "/relative".parse::<Origin>().unwrap_err().into();
    /// assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::InvalidTarget);
    /// ```
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |&e| e.source()).find_map(|e| e.downcast_ref())
    }

    pub(crate) fn new(kind: ErrorKind) -> Self {
        let inner = Inner {
            kind,
            phase: None,
            origin: None,
            after: None,
            detail: None,
            sent: false,
            source: None,
            #[cfg(feature = "tonic")]
            told: crate::status::Told::default(),
        };
        Self {
            inner: Box::new(inner),
        }
    }

    pub(crate) fn config(detail: impl Into<Arc<str>>) -> Self {
        Self::new(ErrorKind::Config).with_detail(detail)
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<Arc<str>>) -> Self {
        self.inner.detail = Some(detail.into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.inner.source = Some(source.into().into());
        self
    }

    pub(crate) fn with_phase(mut self, phase: Phase) -> Self {
        self.inner.phase = Some(phase);
        self
    }

    pub(crate) fn with_origin(mut self, origin: &Origin) -> Self {
        self.inner.origin = Some(origin.clone());
        self
    }

    pub(crate) fn after(mut self, limit: Duration) -> Self {
        self.inner.after = Some(limit);
        self
    }

    pub(crate) fn sent(mut self) -> Self {
        self.inner.sent = true;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            phase: _,
            origin,
            after,
            detail,
            sent: _,
            source: _,
            #[cfg(feature = "tonic")]
                told: _,
        } = &*self.inner;
        if let (ErrorKind::Config | ErrorKind::InvalidTarget, Some(detail)) = (kind, detail) {
            return f.write_str(detail);
        }
        write!(f, "{kind}")?;
        if let Some(after) = after {
            write!(f, " after {after:?}")?;
        }
        if let Some(detail) = detail {
            write!(f, ": {detail}")?;
        }
        if let Some(origin) = origin {
            write!(f, " ({origin})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            phase,
            origin,
            after,
            detail,
            sent,
            source,
            #[cfg(feature = "tonic")]
                told: _,
        } = &*self.inner;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("phase", phase)
            .field("origin", origin)
            .field("after", after)
            .field("detail", detail)
            .field("sent", sent)
            .field("source", source)
            .finish()
    }
}

impl StdError for Error {
    #[cfg(not(feature = "tonic"))]
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|e| e as _)
    }

    #[cfg(feature = "tonic")]
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let Inner { kind, source, .. } = &*self.inner;
        Some(self.inner.told.source(*kind, source.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_big() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn display_says_this_level_only_and_names_origin_and_time() {
        let origin: Origin = "http://api.internal:8080".parse().unwrap();
        let error = Error::new(ErrorKind::ConnectTimeout)
            .with_phase(Phase::Connect)
            .with_origin(&origin)
            .after(Duration::from_secs(2))
            .with_source("the cause");
        assert_eq!(
            error.to_string(),
            "upstream connect timed out after 2s (http://api.internal:8080)",
            "the message names what, how long and where, and leaves the source to source()"
        );
        let causes = std::iter::successors(error.source(), |&error| error.source());
        assert_eq!(causes.last().unwrap().to_string(), "the cause");
    }
}
