//! One exchange, phase by phase: pool, connect, write, read.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{
    Handle, UpstreamBody,
    body::{Framing, Open},
    failure,
    head::{HeadClock, Late},
    protocol::Protocols,
    reply::{Allowed, Reply},
    total::Deadline,
    tries::{Failure, Tries},
};
use crate::{
    config::Timeouts,
    conn::{RequestBody, Sent},
    error::{Error, ErrorKind},
    grpc::GrpcDeadline,
    origin::{Key, Origin},
    pool::Lease,
    trace,
};

/// Of this future there is one for every exchange, in a box. So it is kept within the size of those
/// that allocators have at hand (glibc's, to 1,032 bytes), by what may look odd here: the request stays
/// where it is, and what is kept of it once it is sent goes in its place; what is done without waiting
/// is done in functions that own what they use up, for what a future has once borrowed it keeps room
/// for; and what few exchanges need is boxed.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn would have room for its arguments twice"
)]
pub(super) fn exchange(
    handle: Arc<Handle>,
    mut request: Request<RequestBody>,
) -> impl Future<Output = Result<Response<UpstreamBody>, Error>> + Send {
    async move {
        let start = Instant::now();
        let key = key(&request, handle.protocols)?;
        let mut trace = handle
            .pool
            .observer()
            .exchange(&request, key.origin(), start);
        let call = Call::new(&handle, &key, start, &request, &trace);
        let mut result = match call.deadline() {
            None => call.run(&mut request).await,
            Some(deadline) => Box::pin(call.in_time(deadline, &mut request)).await,
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
}

/// Whose connections may carry the request.
fn key(request: &Request<RequestBody>, protocols: Protocols) -> Result<Key, Error> {
    let origin = Origin::from_uri(request.uri())?;
    if request.method() == Method::CONNECT {
        return Err(Error::new(ErrorKind::InvalidTarget)
            .with_detail("CONNECT asks for a tunnel, which an upstream handle does not open"));
    }
    let protocol = protocols.choose(&origin, request.headers());
    Ok(Key::new(origin, protocol))
}

/// One exchange.
struct Call<'a> {
    handle: &'a Handle,
    key: &'a Key,
    /// In place of the handle's.
    own_timeouts: Option<Box<Timeouts>>,
    start: Instant,
    /// Of which the upstream is told.
    grpc: Option<GrpcDeadline>,
    sent: AtomicBool,
    trace: &'a trace::Exchange,
}

impl<'a> Call<'a> {
    fn new(
        handle: &'a Handle,
        key: &'a Key,
        start: Instant,
        request: &Request<RequestBody>,
        trace: &'a trace::Exchange,
    ) -> Self {
        let own_timeouts = request.extensions().get::<Timeouts>().copied();
        Self {
            handle,
            key,
            own_timeouts: own_timeouts.map(Box::new),
            start,
            grpc: GrpcDeadline::of_call(request.headers(), request.extensions()),
            sent: AtomicBool::new(false),
            trace,
        }
    }

    fn timeouts(&self) -> &Timeouts {
        self.own_timeouts
            .as_deref()
            .unwrap_or(&self.handle.timeouts)
    }

    /// By when all of it must be over.
    fn deadline(&self) -> Option<Deadline> {
        let total = self.timeouts().total.map(|limit| self.start + limit);
        let at = [total, self.grpc.map(GrpcDeadline::at)];
        let at = at.into_iter().flatten().min()?;
        Some(Deadline::new(self.start, at))
    }

    async fn in_time(
        &self,
        deadline: Deadline,
        request: &mut Request<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Error> {
        let run = timeout_at(deadline.at, self.run(request));
        run.await.unwrap_or_else(|_| {
            let sent = self.sent.load(Ordering::Relaxed);
            Err(deadline.missed(&self.handle.pool, self.key.origin(), sent))
        })
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would have room for its arguments twice"
    )]
    fn run(
        &self,
        request: &mut Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<UpstreamBody>, Error>> + Send {
        async move {
            let mut tries = Tries::new(self.handle.resend);
            loop {
                let pool = &self.handle.pool;
                let lease = pool.acquire(
                    self.key,
                    self.timeouts(),
                    self.start,
                    tries.want(),
                    self.trace,
                );
                let lease = match lease.await {
                    Ok(lease) => lease,
                    Err(error) => return Err(tries.give_up(error)),
                };
                let (response, mut under_way) = match self.begin(lease, request, &mut tries) {
                    Ok(begun) => begun,
                    Err(failure) => {
                        tries.again(failure, request)?;
                        continue;
                    }
                };
                let mut response = pin!(response);
                let head = poll_fn(|cx| under_way.poll_head(response.as_mut(), cx)).await;
                match under_way.end(head, self.deadline()) {
                    Ok(response) => return Ok(response),
                    Err(failure) => tries.again(failure, request)?,
                }
            }
        }
    }

    /// Sends the request on this connection.
    #[inline]
    #[expect(clippy::result_large_err, reason = "the request itself comes back")]
    fn begin(
        &self,
        mut lease: Lease,
        request: &mut Request<RequestBody>,
        tries: &mut Tries,
    ) -> Result<(impl Future<Output = Sent> + use<>, UnderWay), Failure> {
        let mut request = tries.start(&lease, request);
        self.sent.store(true, Ordering::Relaxed);
        lease.begin(request.body().upload());
        if let Some(deadline) = self.grpc {
            deadline.tell(request.headers_mut());
        }
        let allowed = Allowed::by(request.headers());
        let timeouts = self.timeouts();
        match lease.conn().send(request, timeouts.write) {
            Ok((response, timer)) => {
                let clock = HeadClock::new(timeouts, &lease, timer);
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
    fn poll_head(
        &mut self,
        response: Pin<&mut impl Future<Output = Sent>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sent, Late>> {
        match response.poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Ok(sent)),
            Poll::Pending => self.clock.poll_late(cx, &self.lease).map(Err),
        }
    }

    /// What the head, or what came in its place, makes of the exchange.
    #[inline]
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
            Ok(Ok(response)) => match allowed.read(&response) {
                Ok(reply) => Ok(begin_body(response, reply, lease, clock, deadline)),
                Err(fault) => Err(Failure::Failed(failure::no_answer(lease, fault))),
            },
            Ok(Err(mut error)) => match error.take_message() {
                Some(mut request) => {
                    lease.conn().restore(&mut request);
                    let error = failure::closed(lease.conn());
                    lease.discard();
                    Err(Failure::Unsent(request, error))
                }
                None => Err(unanswered(error.into_error(), lease)),
            },
            Err(late) => Err(Failure::Failed(failure::late(&lease, late))),
        }
    }
}

/// The request was sent, and the connection or the stream ended before the response's head.
fn unanswered(error: hyper::Error, lease: Lease) -> Failure {
    let is_unseen = failure::is_beyond_goaway(&error);
    let error = failure::before_head(error, &lease);
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

#[inline]
fn begin_body(
    response: Response<Incoming>,
    reply: Reply,
    mut lease: Lease,
    clock: HeadClock,
    deadline: Option<Deadline>,
) -> Response<UpstreamBody> {
    let (parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        lease.upgrade();
        return Response::from_parts(parts, UpstreamBody::empty());
    }
    lease.keep_for(reply.keep_for);
    let framing = Framing {
        reusable: reply.reusable,
        bodiless: matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        ),
        request_is_out: lease.upload().is_none(),
    };
    let open = Open::new(body, lease, clock.into_timer(), framing);
    Response::from_parts(parts, UpstreamBody::new(open, deadline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Upstream;

    #[test]
    fn an_exchange_is_no_larger_than_what_allocators_have_at_hand() {
        let handle = Upstream::builder().build().unwrap().handle.clone();
        let exchange = exchange(handle, Request::default());
        assert!(size_of_val(&exchange) <= 1032, "{}", size_of_val(&exchange));
    }
}
