//! Which requests are tried again, after what.

use http::{HeaderName, HeaderValue, Method, Request};

use crate::{
    conn::RequestBody,
    error::Error,
    pool::{Lease, Ticket, Want},
};

/// How often a request that was not sent is tried on another connection.
const FRESH_TRIES: u8 = 2;

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
pub(super) struct Tries {
    /// Whether a request may be sent twice at all.
    resend: bool,
    /// The ticket of the last try, which keeps the request's place in the queue.
    ticket: Option<Ticket>,
    /// How often it was tried on another connection without having been sent.
    fresh: u8,
    /// It may have been sent on a connection that died.
    died: bool,
    /// This time its connection has served before.
    reused: bool,
    /// Those of a request that may be sent twice; the rest of it is in its place.
    headers: Option<Headers>,
}

/// Headers that most often are not needed: so they are a plain list, which costs less than a copy of
/// their map, and nothing where there is but one.
struct Headers {
    first: Option<(HeaderName, HeaderValue)>,
    others: Vec<(HeaderName, HeaderValue)>,
}

impl Tries {
    pub(super) fn new(resend: bool) -> Self {
        Self {
            resend,
            ticket: None,
            fresh: 0,
            died: false,
            reused: false,
            headers: None,
        }
    }

    /// What the next try takes. Once something was amiss with a pooled connection, only a new one
    /// will do.
    pub(super) fn want(&self) -> Want {
        Want {
            again: self.ticket,
            fresh: self.ticket.is_some(),
        }
    }

    /// There is no connection for another try.
    pub(super) fn give_up(&self, error: Error) -> Error {
        if self.died { error.sent() } else { error }
    }

    /// The request, to be sent on this connection. In its place is left what it takes to make it
    /// again, if it may be sent twice.
    #[inline]
    pub(super) fn start(
        &mut self,
        lease: &Lease,
        place: &mut Request<RequestBody>,
    ) -> Request<RequestBody> {
        self.ticket = Some(lease.ticket());
        self.reused = lease.is_reused();
        let request = std::mem::take(place);
        let may_need_it = (self.reused || lease.conn().is_multiplexed()) && !self.died;
        let is_kept = may_need_it && self.resend && may_be_sent_twice(&request);
        self.headers = is_kept.then(|| {
            request.method().clone_into(place.method_mut());
            request.uri().clone_into(place.uri_mut());
            Headers::of(&request)
        });
        request
    }

    /// Makes the request ready to be tried again, if it may be.
    pub(super) fn again(
        &mut self,
        failure: Failure,
        place: &mut Request<RequestBody>,
    ) -> Result<(), Error> {
        match (failure, self.headers.take()) {
            (Failure::Unsent(unsent, _), _) if self.reused && self.fresh < FRESH_TRIES => {
                self.fresh += 1;
                *place = unsent;
            }
            (Failure::Unseen(_), Some(headers)) if self.fresh < FRESH_TRIES => {
                self.fresh += 1;
                headers.put_into(place);
            }
            (Failure::Died(_), Some(headers)) if self.reused => {
                self.died = true;
                headers.put_into(place);
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

/// Idempotent (RFC 9110 §9.2.2), and without a body.
fn may_be_sent_twice(request: &Request<RequestBody>) -> bool {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    idempotent && request.body().is_empty()
}

impl Headers {
    fn of(request: &Request<RequestBody>) -> Self {
        let headers = request.headers().iter();
        let mut headers = headers.map(|(name, value)| (name.clone(), value.clone()));
        Self {
            first: headers.next(),
            others: headers.collect(),
        }
    }

    fn put_into(self, request: &mut Request<RequestBody>) {
        for (name, value) in self.first.into_iter().chain(self.others) {
            request.headers_mut().append(name, value);
        }
    }
}
