//! One connection: what is shared between its driver, the exchange that uses it, and the pool.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    connect::Probe,
    error::Error,
    origin::Origin,
    pool::{ConnId, Lease, Pool},
    stats::CloseCause,
    trace,
};

mod clock;
pub(crate) mod dial;
mod h1;
mod h2;
mod io;
mod mailbox;
mod parked;
mod request;
mod sender;
mod timer;
mod upload;

pub(crate) use self::{
    h2::Http2Settings,
    io::WriteTimedOut,
    mailbox::Order,
    request::RequestBody,
    sender::Sent,
    timer::{ReadTimer, Timer},
    upload::Upload,
};
use self::{mailbox::Mailbox, parked::Parked, sender::Sender};

/// What is shared. The pool holds one per connection, and so does each lease and the driver.
#[derive(Debug)]
pub(crate) struct Conn {
    origin: Origin,
    /// Whether it carries many exchanges at once (HTTP/2).
    multiplexed: bool,
    /// The `Host` of every request, made once.
    host: HeaderValue,
    /// For a look at the socket from outside, where the connector allows it.
    probe: Option<Probe>,
    trace: trace::Connection,
    cell: Mutex<Cell>,
    /// What there is for the driver.
    driver: Mailbox<Work>,
    /// In nanoseconds; that of the exchange which is under way, `u64::MAX` for none.
    write_timeout: AtomicU64,
    /// A byte has come since the last request was sent. Shared with who reads.
    answered: Arc<AtomicBool>,
}

struct Cell {
    /// `None` before the handshake, and once the connection is to end.
    sender: Option<Sender>,
    /// Lent to the exchange that is under way, so that one timer serves them all.
    timer: Option<Timer>,
    sending: Sending,
    /// Why the socket goes, where the pool does not ask for it.
    cause: CloseCause,
    /// What its loss means to those who wait for the connection.
    failure: Option<Error>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finish(_) => "Finish",
            Self::Run(_) => "Run",
            Self::CheckClock => "CheckClock",
        })
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("sender", &self.sender)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

/// Whether the socket takes what there is to send.
#[derive(Clone, Copy, Debug)]
enum Sending {
    Flows,
    Stalled,
    FlowsSince(Instant),
}

/// What the driver is asked to do beside driving.
enum Work {
    /// Finish an exchange.
    Finish(Parked),
    /// Run this for as long as the connection lasts.
    Run(BoxFuture<'static, ()>),
    /// Ask the pool whether the connection's time is over.
    CheckClock,
}

impl Conn {
    pub(crate) fn new(
        origin: Origin,
        multiplexed: bool,
        probe: Option<Probe>,
        answered: Arc<AtomicBool>,
        trace: trace::Connection,
    ) -> Self {
        // An authority is made of visible ASCII only, all of which a header's value may hold.
        let host = HeaderValue::from_str(origin.authority().as_str())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        Self {
            origin,
            multiplexed,
            host,
            probe,
            trace,
            cell: Mutex::new(Cell {
                sender: None,
                timer: None,
                sending: Sending::Flows,
                cause: CloseCause::Failed,
                failure: None,
            }),
            driver: Mailbox::new(),
            write_timeout: AtomicU64::new(u64::MAX),
            answered,
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn trace(&self) -> &trace::Connection {
        &self.trace
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed
    }

    // === the exchange's side ===

    /// Sends a request. Only who holds a lease does so.
    ///
    /// It comes back if it was provably not sent: at once if the connection has ended, or in the
    /// future's error.
    #[inline]
    #[expect(clippy::result_large_err, reason = "the request itself comes back")]
    pub(crate) fn send(
        &self,
        request: Request<RequestBody>,
        write_timeout: Option<Duration>,
    ) -> Result<(impl Future<Output = Sent> + use<>, Option<Timer>), Request<RequestBody>> {
        self.set_write_timeout(write_timeout);
        let mut cell = self.cell();
        if !self.multiplexed {
            self.answered.store(false, Ordering::Relaxed);
            cell.sending = Sending::Flows;
        }
        let timer = cell.timer.take();
        let Some(sender) = &mut cell.sender else {
            return Err(request);
        };
        Ok((sender.send(request, &self.host), timer))
    }

    /// Makes a request that came back unsent what it was before, so that another connection can take
    /// it.
    pub(crate) fn restore(&self, request: &mut Request<RequestBody>) {
        sender::restore(request, &self.origin);
    }

    /// How long the socket may take no byte from now on.
    pub(crate) fn set_write_timeout(&self, limit: Option<Duration>) {
        let nanos = limit.and_then(|limit| u64::try_from(limit.as_nanos()).ok());
        self.write_timeout
            .store(nanos.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether another request can be sent now: the previous exchange is over in both directions.
    pub(crate) fn is_ready(&self) -> bool {
        self.cell().sender.as_ref().is_some_and(Sender::is_ready)
    }

    /// Whether nothing has come on the socket since the last response: neither its end nor bytes
    /// that would be taken for the next one. Always true where the connector gives no look at it,
    /// and over HTTP/2, where bytes may come at any time and belong to a stream.
    pub(crate) fn is_quiet(&self) -> bool {
        self.multiplexed || self.probe.as_ref().is_none_or(Probe::is_quiet)
    }

    /// Until when the request was held up on its way out: now, if it still is.
    pub(crate) fn sending_until(&self) -> Option<Instant> {
        match self.cell().sending {
            Sending::Flows => None,
            Sending::Stalled => Some(Instant::now()),
            Sending::FlowsSince(at) => Some(at),
        }
    }

    /// Whether a byte has come since the last request was sent; over HTTP/2, ever.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn return_timer(&self, timer: Timer) {
        self.cell().timer = Some(timer);
    }

    /// Leaves a lease to the driver, to be given back once the connection can be used again: after
    /// the rest of the body, of which at most `left` bytes are read, but no later than `until`.
    pub(crate) fn park(&self, lease: Lease, rest: Option<(Incoming, u64)>, until: Instant) {
        let parked = Parked::new(lease, rest, until);
        // Without a driver there is no connection either: the lease's end tells the pool.
        drop(self.driver.leave(Work::Finish(parked)));
    }

    /// Has the driver run this beside the connection, for as long as that lasts.
    pub(crate) fn run(&self, chore: impl Future<Output = ()> + Send + 'static) {
        drop(self.driver.leave(Work::Run(chore.boxed())));
    }

    // === the pool's side ===

    /// Tells the driver to end.
    pub(crate) fn order(&self, order: Order) {
        self.driver.order(order);
    }

    /// Tells the driver that the connection may not stay idle for as long as it thinks.
    pub(crate) fn look_at_clock(&self) {
        drop(self.driver.leave(Work::CheckClock));
    }

    pub(crate) fn current_order(&self) -> Order {
        self.driver.current_order()
    }

    // === the driver's side ===

    fn cell(&self) -> MutexGuard<'_, Cell> {
        // What it guards is whole after every statement, so a panic elsewhere spoils nothing.
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once the next request can be sent, or, with an error, never again.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match &mut self.cell().sender {
            Some(Sender::Http1(sender)) => sender.poll_ready(cx),
            Some(Sender::Http2(_)) => Poll::Ready(Ok(())),
            // It was told to close, and will not be long.
            None => Poll::Pending,
        }
    }

    /// Says what it means to those who wait if the socket goes now.
    fn set_failure(&self, failure: Error) {
        self.cell().failure = Some(failure);
    }

    /// Lets go of the sender: hyper then ends the connection in good order.
    fn drop_sender(&self) {
        // Not under the lock: its end wakes hyper.
        let sender = self.cell().sender.take();
        drop(sender);
    }

    fn write_timeout(&self) -> Option<Duration> {
        let nanos = self.write_timeout.load(Ordering::Relaxed);
        (nanos != u64::MAX).then(|| Duration::from_nanos(nanos))
    }
}

/// The driver's end, however it comes. It is dropped after the connection.
struct Guard {
    conn: Arc<Conn>,
    pool: Arc<Pool>,
    id: ConnId,
}

impl Guard {
    fn new(conn: &Arc<Conn>, pool: &Arc<Pool>, id: ConnId) -> Self {
        Self {
            conn: conn.clone(),
            pool: pool.clone(),
            id,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let left = (self.conn.cell().sender.take(), self.conn.driver.close());
        // Its socket is gone and its slot with it, unless an upgrade has taken them over.
        self.pool.upgraded(self.id);
        drop(left);
    }
}
