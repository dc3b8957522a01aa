//! One exchange, phase by phase: pool, connect, write, read.

use std::{
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response,
};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{
    Handle, UpstreamBody,
    allowed::Allowed,
    body::{Framing, Open},
    failure,
    head::{HeadClock, Late},
    total::Deadline,
    tries::{Failure, Tries},
};
use crate::{
    config::Timeouts,
    conn::{RequestBody, Sent, Upload},
    error::{Error, ErrorKind},
    grpc::GrpcDeadline,
    origin::{Key, Origin},
    pool::{Lease, Pool, Want},
    trace,
};

/// An upstream that keeps a connection for so long is not sent a request in the last part of it.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// The request stays where it is for as long as it is not sent: its future is made, and moved, for every
/// exchange, and should be small.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn would have room for its arguments twice"
)]
pub(super) fn exchange(
    handle: Arc<Handle>,
    mut request: Request<RequestBody>,
) -> impl Future<Output = Result<Response<UpstreamBody>, Error>> + Send {
    async move {
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
        let mut result = call.in_time(&mut request).await;
        match &mut result {
            Ok(response) => {
                trace.head(response);
                response.body_mut().trace(trace);
            }
            Err(error) => trace.failed(error.kind()),
        }
        result
    }
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
    async fn in_time(
        &self,
        request: &mut Request<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Error> {
        let run = pin!(self.run(request));
        match self.deadline {
            None => run.await,
            Some(deadline) => timeout_at(deadline.at, run).await.unwrap_or_else(|_| {
                let sent = self.sent.load(Ordering::Relaxed);
                Err(deadline.missed(self.pool, self.key.origin(), sent))
            }),
        }
    }

    async fn run(
        &self,
        request: &mut Request<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Error> {
        let mut tries = Tries::default();
        let mut want = Want::default();
        loop {
            let lease = self
                .pool
                .acquire(&self.key, &self.timeouts, self.start, want, self.trace)
                .await
                .map_err(|error| if tries.died { error.sent() } else { error })?;
            // Once something was amiss with a pooled connection, only a new one will do.
            want = Want {
                again: Some(lease.ticket()),
                fresh: true,
            };
            tries.start(&lease, request);
            let (response, mut under_way) = match self.begin(lease, mem::take(request)) {
                Ok(begun) => begun,
                Err(failure) => {
                    tries.again(failure, request)?;
                    continue;
                }
            };
            let head = under_way.head(pin!(response)).await;
            match under_way.end(head, self.deadline) {
                Ok(response) => return Ok(response),
                Err(failure) => tries.again(failure, request)?,
            }
        }
    }

    /// Sends the request on this connection.
    #[expect(clippy::result_large_err, reason = "the request itself comes back")]
    fn begin(
        &self,
        mut lease: Lease,
        mut request: Request<RequestBody>,
    ) -> Result<(impl Future<Output = Sent> + use<>, UnderWay), Failure> {
        self.sent.store(true, Ordering::Relaxed);
        let upload = request.body().upload();
        lease.begin(upload.clone());
        if let Some(deadline) = self.grpc {
            deadline.tell(request.headers_mut());
        }
        let allowed = Allowed::by(request.headers());
        match lease.conn().send(request, self.timeouts.write) {
            Ok((response, timer)) => {
                let clock = HeadClock::new(upload, &self.timeouts, lease.conn(), timer);
                let under_way = UnderWay {
                    clock,
                    lease,
                    allowed,
                };
                Ok((response, under_way))
            }
            Err(request) => {
                let error = failure::closed(lease.conn());
                lease.discard();
                Err(Failure::Unsent(request, error))
            }
        }
    }
}

/// A request that is under way.
struct UnderWay {
    clock: HeadClock,
    lease: Lease,
    allowed: Allowed,
}

impl UnderWay {
    /// Waits for the response's head.
    async fn head(
        &mut self,
        mut response: Pin<&mut impl Future<Output = Sent>>,
    ) -> Result<Sent, Late> {
        poll_fn(|cx| match response.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Ok(sent)),
            Poll::Pending => self.clock.poll_late(cx, self.lease.conn()).map(Err),
        })
        .await
    }

    /// What the head, or what came in its place, makes of the exchange.
    #[expect(clippy::result_large_err, reason = "the request itself comes back")]
    fn end(
        self,
        head: Result<Sent, Late>,
        deadline: Option<Deadline>,
    ) -> Result<Response<UpstreamBody>, Failure> {
        let Self {
            clock,
            lease,
            allowed,
        } = self;
        match head {
            Ok(Ok(response)) => match allowed.fault(&response) {
                Some(fault) => Err(Failure::Failed(failure::no_answer(lease, fault))),
                None => Ok(begin_body(response, lease, clock, deadline)),
            },
            Ok(Err(mut error)) => match error.take_message() {
                Some(mut request) => {
                    lease.conn().restore(&mut request);
                    let error = failure::closed(lease.conn());
                    lease.discard();
                    Err(Failure::Unsent(request, error))
                }
                None => Err(unanswered(error.into_error(), lease, clock.upload())),
            },
            Err(late) => Err(Failure::Failed(failure::late(&lease, late))),
        }
    }
}

/// The request was sent, and the connection or the stream ended before the response's head.
fn unanswered(error: hyper::Error, lease: Lease, upload: Option<&Upload>) -> Failure {
    let is_unseen = failure::is_beyond_goaway(&error);
    let error = failure::before_head(error, &lease, upload);
    if is_unseen {
        lease.discard();
        return Failure::Unseen(error);
    }
    // Over HTTP/2, what comes on the connection may be another exchange's.
    let conn = lease.conn();
    let nothing_came = conn.is_multiplexed() || !conn.has_answered();
    match error.kind() {
        ErrorKind::Closed | ErrorKind::Reset if nothing_came => Failure::Died(error),
        _ => Failure::Failed(error),
    }
}

fn begin_body(
    response: Response<Incoming>,
    mut lease: Lease,
    clock: HeadClock,
    deadline: Option<Deadline>,
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
        request_is_out: clock.upload().is_none(),
    };
    let open = Open::new(body, lease, clock.into_timer(), framing);
    Response::from_parts(parts, UpstreamBody::new(open, deadline))
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
