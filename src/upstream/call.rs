//! One exchange, phase by phase: pool, connect, write, read.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    response,
};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{
    Handle, UpstreamBody,
    allowed::Allowed,
    body::{Framing, Open},
    failure,
    head::HeadClock,
    total::Deadline,
};
use crate::{
    config::Timeouts,
    conn::{ReadTimer, RequestBody, Sent},
    error::{Error, ErrorKind},
    grpc::GrpcDeadline,
    origin::{Key, Origin},
    pool::{Lease, Pool, Want},
    trace,
};

/// How often a request that was not sent is tried on another connection.
const FRESH_TRIES: usize = 2;

/// An upstream that keeps a connection for so long is not sent a request in the last part of it.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// Why a try came to nothing.
#[expect(
    clippy::large_enum_variant,
    reason = "passed on at once, and never stored"
)]
enum Failure {
    /// Provably not sent: the request is whole.
    Unsent(Request<RequestBody>, Error),
    /// The upstream is leaving, and has not looked at it (RFC 9113 §6.8).
    Unseen(Error),
    /// The connection ended before a byte of the response.
    Died(Error),
    Failed(Error),
}

pub(super) async fn exchange(
    handle: Arc<Handle>,
    request: Request<RequestBody>,
) -> Result<Response<UpstreamBody>, Error> {
    let origin = Origin::from_uri(request.uri())?;
    if request.method() == Method::CONNECT {
        return Err(Error::new(ErrorKind::InvalidTarget)
            .with_detail("CONNECT asks for a tunnel, which an upstream handle does not open"));
    }
    let protocol = handle.protocols.choose(&origin, request.headers());
    let start = Instant::now();
    let own = request.extensions().get::<Timeouts>();
    let mut timeouts = own.copied().unwrap_or(handle.timeouts);
    let grpc = GrpcDeadline::of_call(request.headers(), request.extensions());
    let left = grpc.map(GrpcDeadline::left);
    timeouts.total = [timeouts.total, left].into_iter().flatten().min();
    let mut trace = handle.pool.observer().exchange(&request, &origin, start);
    let call = Call {
        pool: &handle.pool,
        key: Key::new(origin, protocol),
        timeouts,
        start,
        deadline: Deadline::new(start, timeouts.total),
        grpc,
        sent: AtomicBool::new(false),
        trace: &trace,
    };
    let mut result = match call.deadline {
        None => call.run(request).await,
        Some(deadline) => timeout_at(deadline.at, call.run(request))
            .await
            .unwrap_or_else(|_| {
                let sent = call.sent.load(Ordering::Relaxed);
                Err(deadline.missed(call.pool, call.key.origin(), sent))
            }),
    };
    match &mut result {
        Ok(response) => {
            trace.head(response);
            response.body_mut().trace(trace);
        }
        Err(error) => trace.failed(error.kind()),
    }
    result
}

/// One exchange.
struct Call<'a> {
    pool: &'a Arc<Pool>,
    key: Key,
    timeouts: Timeouts,
    start: Instant,
    deadline: Option<Deadline>,
    /// Of which the upstream is told.
    grpc: Option<GrpcDeadline>,
    sent: AtomicBool,
    trace: &'a trace::Exchange,
}

impl Call<'_> {
    async fn run(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Error> {
        let mut fresh_tries = 0;
        let mut died = false;
        let mut want = Want::default();
        loop {
            let lease = self
                .pool
                .acquire(&self.key, &self.timeouts, self.start, want, self.trace)
                .await
                .map_err(|error| if died { error.sent() } else { error })?;
            let reused = lease.is_reused();
            // Once something was amiss with a pooled connection, only a new one will do.
            want = Want {
                again: Some(lease.ticket()),
                fresh: true,
            };
            let shared = lease.conn().is_multiplexed();
            let again = if (reused || shared) && !died {
                Replay::of(&request)
            } else {
                None
            };
            let outcome = match self.begin(lease, request) {
                Ok(begun) => self.answer(begun).await,
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(response) => return Ok(response),
                Err(Failure::Unsent(unsent, _)) if reused && fresh_tries < FRESH_TRIES => {
                    fresh_tries += 1;
                    request = unsent;
                }
                Err(Failure::Unseen(error)) => match again {
                    Some(again) if fresh_tries < FRESH_TRIES => {
                        fresh_tries += 1;
                        request = again.into_request();
                    }
                    _ => return Err(error),
                },
                Err(Failure::Died(error)) => match again {
                    Some(again) if reused => {
                        died = true;
                        request = again.into_request();
                    }
                    _ => return Err(error),
                },
                Err(Failure::Unsent(_, error) | Failure::Failed(error)) => return Err(error),
            }
        }
    }

    /// Sends the request on this connection. Not a part of the future, which would move it around.
    #[expect(clippy::result_large_err, reason = "the request itself comes back")]
    fn begin(
        &self,
        mut lease: Lease,
        mut request: Request<RequestBody>,
    ) -> Result<Begun<impl Future<Output = Sent> + use<>>, Failure> {
        self.sent.store(true, Ordering::Relaxed);
        let upload = request.body().upload();
        lease.begin(upload.clone());
        if let Some(deadline) = self.grpc {
            deadline.tell(request.headers_mut());
        }
        let allowed = Allowed::by(request.headers());
        let restore = Restore::of(&request);
        match lease.conn().send(request, self.timeouts.write) {
            Ok((response, timer)) => Ok(Begun {
                response,
                clock: HeadClock::new(upload, &self.timeouts, lease.conn(), timer),
                lease,
                allowed,
                restore,
            }),
            Err(mut request) => {
                restore.to(&mut request);
                let error = failure::closed(lease.conn());
                lease.discard();
                Err(Failure::Unsent(request, error))
            }
        }
    }

    /// Waits for the response's head.
    async fn answer(
        &self,
        begun: Begun<impl Future<Output = Sent>>,
    ) -> Result<Response<UpstreamBody>, Failure> {
        let Begun {
            response,
            mut clock,
            lease,
            allowed,
            restore,
        } = begun;
        let conn = lease.conn();
        let mut response = pin!(response);
        let head = poll_fn(|cx| match response.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => clock.poll_late(cx, conn).map(Err),
        });
        match head.await {
            Ok(Ok(response)) => {
                let request_is_out = clock.upload().is_none();
                let timer = clock.into_timer();
                if let Some(fault) = allowed.fault(&response) {
                    return Err(Failure::Failed(failure::no_answer(lease, fault)));
                }
                Ok(self.begin_body(response, lease, timer, request_is_out))
            }
            Ok(Err(mut error)) => match error.take_message() {
                Some(mut request) => {
                    restore.to(&mut request);
                    let error = failure::closed(conn);
                    lease.discard();
                    Err(Failure::Unsent(request, error))
                }
                None => {
                    let error = error.into_error();
                    let is_unseen = failure::is_beyond_goaway(&error);
                    let error = failure::before_head(error, &lease, clock.upload());
                    if is_unseen {
                        lease.discard();
                        return Err(Failure::Unseen(error));
                    }
                    // Over HTTP/2, what comes on the connection may be another exchange's.
                    let nothing_came = conn.is_multiplexed() || !conn.has_answered();
                    Err(match error.kind() {
                        ErrorKind::Closed | ErrorKind::Reset if nothing_came => {
                            Failure::Died(error)
                        }
                        _ => Failure::Failed(error),
                    })
                }
            },
            Err(late) => Err(Failure::Failed(failure::late(&lease, late))),
        }
    }

    fn begin_body(
        &self,
        response: Response<Incoming>,
        mut lease: Lease,
        timer: ReadTimer,
        request_is_out: bool,
    ) -> Response<UpstreamBody> {
        let (parts, body) = response.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            lease.upgrade();
            return Response::from_parts(parts, UpstreamBody::empty());
        }
        lease.keep_for(keep_alive(&parts.headers));
        let framing = Framing {
            reusable: is_reusable(&parts),
            bodiless: matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            ),
            request_is_out,
        };
        let open = Open::new(body, lease, timer, framing);
        Response::from_parts(parts, UpstreamBody::new(open, self.deadline))
    }
}

/// A request that is under way.
struct Begun<F> {
    response: F,
    clock: HeadClock,
    lease: Lease,
    allowed: Allowed,
    restore: Restore,
}

/// What a protocol changes in a request to send it, to be put back when it was not sent.
struct Restore {
    uri: Uri,
    host: Option<HeaderValue>,
}

impl Restore {
    fn of(request: &Request<RequestBody>) -> Self {
        Self {
            uri: request.uri().clone(),
            host: request.headers().get(HOST).cloned(),
        }
    }

    fn to(self, request: &mut Request<RequestBody>) {
        *request.uri_mut() = self.uri;
        if let Some(host) = self.host {
            request.headers_mut().insert(HOST, host);
        }
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

/// How long the upstream says it keeps an idle connection, less a margin for what is on its way.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        is_timeout.then(|| value.trim().parse().ok())?
    })?;
    Some(Duration::from_secs(seconds).saturating_sub(KEEP_ALIVE_MARGIN))
}

/// Whether the connection can serve again once this response has been read: its end must be told
/// by the response itself, and the upstream must not have asked to close (RFC 9112 §9.3).
fn is_reusable(head: &response::Parts) -> bool {
    if head.version == Version::HTTP_2 {
        // A stream's end is told by its frames.
        return true;
    }
    let framed =
        head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING);
    let close = head.headers.get_all(CONNECTION).iter().any(|value| {
        let options = value.to_str().unwrap_or_default().split(',');
        options
            .into_iter()
            .any(|option| option.trim().eq_ignore_ascii_case("close"))
    });
    framed && !close
}
