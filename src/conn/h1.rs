//! HTTP/1.1: how a request is shaped, and the task that drives a connection.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Request, Uri, Version, header::HOST, uri::PathAndQuery};
use http_body::Body;
use hyper::client::conn::http1;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Conn, Order, Parked, RequestBody, io::SlotIo};
use crate::{
    pool::{ConnId, Pool},
    stats::CloseCause,
};

/// How long a connection that closes in good order may take for it (TLS has a farewell to write).
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Makes an absolute request one in origin form (RFC 9112 §3.2.1).
pub(super) fn shape(request: &mut Request<RequestBody>, host: &HeaderValue) {
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    // A request's version is often just that of the one it was made from.
    *request.version_mut() = Version::HTTP_11;
    request
        .headers_mut()
        .entry(HOST)
        .or_insert_with(|| host.clone());
}

/// Does the handshake, and returns the future that drives the connection to its end.
pub(super) async fn handshake(
    io: SlotIo,
    conn: &Arc<Conn>,
    pool: &Arc<Pool>,
    id: ConnId,
) -> hyper::Result<impl Future<Output = ()> + use<>> {
    let (sender, http) = http1::Builder::new().handshake(io).await?;
    conn.cell().sender = Some(sender);
    Ok(Driver {
        http: http.with_upgrades(),
        parked: None,
        close_by: None,
        check_at: None,
        clock: None,
        guard: Guard {
            conn: conn.clone(),
            pool: pool.clone(),
            id,
        },
    })
}

/// Polls the connection, finishes what exchanges leave behind, and keeps its times.
///
/// `H` is hyper's connection, whose type has no name.
struct Driver<H> {
    http: H,
    parked: Option<Parked>,
    /// By when it must have closed, once it was told to.
    close_by: Option<Instant>,
    /// When to ask whether it has been idle for too long.
    check_at: Option<Instant>,
    /// Rings no later than the first of the times above, and is only ever moved to an earlier
    /// one: so an exchange costs no work on it.
    clock: Option<Pin<Box<Sleep>>>,
    guard: Guard,
}

/// The driver's end, however it comes. Dropped after the connection.
struct Guard {
    conn: Arc<Conn>,
    pool: Arc<Pool>,
    id: ConnId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut cell = self.conn.cell();
        cell.gone = true;
        let left = (cell.sender.take(), cell.parked.take());
        drop(cell);
        // Its socket is gone and its slot with it, unless an upgrade has taken them over.
        self.pool.upgraded(self.id);
        drop(left);
    }
}

impl<H> Future for Driver<H>
where
    H: Future<Output = hyper::Result<()>> + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.guard.conn.driver.register(cx.waker());
        loop {
            match this.guard.conn.current_order() {
                Order::Run => {}
                Order::Close => this.close(),
                Order::Abort | Order::Drain => return Poll::Ready(()),
            }
            if this.guard.conn.clock_moved.swap(false, Ordering::AcqRel) {
                this.check_at = this.guard.pool.expire(this.guard.id);
                continue;
            }
            if let Poll::Ready(result) = Pin::new(&mut this.http).poll(cx) {
                if result.is_ok() {
                    this.guard.conn.cell().cause = CloseCause::Remote;
                }
                return Poll::Ready(());
            }
            if !this.tend(cx) && !ready!(this.poll_clock(cx)) {
                return Poll::Ready(());
            }
        }
    }
}

impl<H> Driver<H> {
    /// Lets go of the sender: hyper then ends the connection in good order.
    fn close(&mut self) {
        if self.close_by.is_none() {
            self.close_by = Some(Instant::now() + CLOSE_TIMEOUT);
            // Not dropped under the lock: its end wakes hyper.
            let sender = self.guard.conn.cell().sender.take();
            drop(sender);
        }
    }

    /// Finishes what an exchange has left. True when hyper must be polled again.
    fn tend(&mut self, cx: &mut Context<'_>) -> bool {
        if self.parked.is_none() {
            self.parked = self.guard.conn.cell().parked.take();
        }
        let Some(parked) = &mut self.parked else {
            return false;
        };
        match parked.poll(cx, &self.guard.conn) {
            Poll::Pending => false,
            Poll::Ready(clean) => {
                self.unpark(clean);
                true
            }
        }
    }

    /// Ends what was parked. Unless it came to a clean end, its lease has this connection aborted.
    fn unpark(&mut self, clean: bool) {
        let Some(Parked { lease, cut, .. }) = self.parked.take() else {
            return;
        };
        if cut {
            lease.count_rest(clean);
        }
        if clean {
            lease.finish();
        }
    }

    /// Waits for the next of its times. False when the connection's time is over.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let parked_until = self.parked.as_ref().map(|parked| parked.until);
        let times = [parked_until, self.close_by, self.check_at];
        let Some(next) = times.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        let clock = self
            .clock
            .get_or_insert_with(|| Box::pin(sleep_until(next)));
        if next < clock.deadline() || clock.is_elapsed() {
            clock.as_mut().reset(next);
        }
        ready!(clock.as_mut().poll(cx));
        let now = Instant::now();
        let is_over = |time: Option<Instant>| time.is_some_and(|at| at <= now);
        if is_over(self.close_by) {
            return Poll::Ready(false);
        }
        if is_over(parked_until) {
            self.unpark(false);
        }
        if is_over(self.check_at) {
            self.check_at = self.guard.pool.expire(self.guard.id);
        }
        Poll::Ready(true)
    }
}

impl Parked {
    /// Reads the rest on, and waits until the connection can be used again. False if it can't.
    fn poll(&mut self, cx: &mut Context<'_>, conn: &Conn) -> Poll<bool> {
        while let Some(rest) = &mut self.rest {
            let at_end = match ready!(Pin::new(&mut rest.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let read = frame.data_ref().map_or(0, |data| data.len() as u64);
                    let Some(left) = rest.left.checked_sub(read) else {
                        return Poll::Ready(false);
                    };
                    rest.left = left;
                    rest.body.is_end_stream()
                }
                Some(Err(_)) => return Poll::Ready(false),
                None => true,
            };
            if at_end {
                drop(mem::take(&mut self.rest));
            }
        }
        // Ready, though not the moment the body ends: hyper may still be writing the request.
        conn.poll_ready(cx).map(|ready| ready.is_ok())
    }
}
