//! Which requests are tried again, after what.

use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::{conn::RequestBody, error::Error, pool::Lease};

/// How often a request that was not sent is tried on another connection.
const FRESH_TRIES: usize = 2;

/// Why a try came to nothing.
#[expect(
    clippy::large_enum_variant,
    reason = "passed on at once, and never stored"
)]
pub(super) enum Failure {
    /// Provably not sent: the request is whole.
    Unsent(Request<RequestBody>, Error),
    /// The upstream is leaving, and has not looked at it (RFC 9113 §6.8).
    Unseen(Error),
    /// The connection ended before a byte of the response.
    Died(Error),
    Failed(Error),
}

/// What has become of a request so far.
#[derive(Default)]
pub(super) struct Tries {
    /// How often it was tried on another connection without having been sent.
    fresh: usize,
    /// It may have been sent on a connection that died.
    pub(super) died: bool,
    /// This time its connection has served before.
    reused: bool,
    /// What it takes to make it again, if it may be sent twice.
    replay: Option<Replay>,
}

impl Tries {
    pub(super) fn start(&mut self, lease: &Lease, request: &Request<RequestBody>) {
        self.reused = lease.is_reused();
        let may_need_it = (self.reused || lease.conn().is_multiplexed()) && !self.died;
        self.replay = if may_need_it {
            Replay::of(request)
        } else {
            None
        };
    }

    /// Makes the request ready to be tried again, if it may be.
    pub(super) fn again(
        &mut self,
        failure: Failure,
        request: &mut Request<RequestBody>,
    ) -> Result<(), Error> {
        match (failure, self.replay.take()) {
            (Failure::Unsent(unsent, _), _) if self.reused && self.fresh < FRESH_TRIES => {
                self.fresh += 1;
                *request = unsent;
            }
            (Failure::Unseen(_), Some(replay)) if self.fresh < FRESH_TRIES => {
                self.fresh += 1;
                *request = replay.into_request();
            }
            (Failure::Died(_), Some(replay)) if self.reused => {
                self.died = true;
                *request = replay.into_request();
            }
            (
                Failure::Unsent(_, error)
                | Failure::Unseen(error)
                | Failure::Died(error)
                | Failure::Failed(error),
                _,
            ) => return Err(error),
        }
        Ok(())
    }
}

/// What it takes to make a request again that may be sent twice.
///
/// Most often it is not needed: so its headers are a plain list, which costs less than a copy of their
/// map, and nothing where there is but one.
struct Replay {
    method: Method,
    uri: Uri,
    first: Option<(HeaderName, HeaderValue)>,
    others: Vec<(HeaderName, HeaderValue)>,
}

impl Replay {
    /// Of a request that is idempotent (RFC 9110 §9.2.2) and without a body.
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let idempotent = matches!(
            *request.method(),
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::TRACE
                | Method::PUT
                | Method::DELETE
        );
        if !idempotent || !request.body().is_empty() {
            return None;
        }
        let headers = request.headers().iter();
        let mut headers = headers.map(|(name, value)| (name.clone(), value.clone()));
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            first: headers.next(),
            others: headers.collect(),
        })
    }

    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::default());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        for (name, value) in self.first.into_iter().chain(self.others) {
            request.headers_mut().append(name, value);
        }
        request
    }
}
