use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::origin::Origin;

mod kind;

pub use self::kind::{ErrorKind, Phase};

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

// === impl Error ===

impl Error {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The phase in which it happened, where it happened in one. A total timeout, which is of no one
    /// phase, has [`Phase::Read`] once the request was sent, and none before.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.inner.phase
    }

    /// The upstream's origin, once it is known.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.inner.origin.as_ref()
    }

    /// Whether a timeout ran out; [`kind`](Self::kind) tells which.
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
