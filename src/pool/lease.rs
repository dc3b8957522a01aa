use std::{fmt, sync::Arc, time::Duration};

use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{ConnId, Grant, Pool, Ticket};
use crate::{
    conn::{Conn, Order, Upload},
    stats::CloseCause,
};

/// How long the request may still be in the writing once its response is over. Without a bound the
/// connection would be neither usable nor closed (hyper#4176).
const GRACE: Duration = Duration::from_millis(50);

/// The right to use a connection for one exchange. Its drop is the only way back: unless the
/// exchange was ended in good order, the connection is closed; over HTTP/2, the stream is reset.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    id: ConnId,
    conn: Arc<Conn>,
    ticket: Ticket,
    reused: bool,
    /// How long the upstream said it would keep the connection.
    keep_for: Option<Duration>,
    /// The request's body, on its way out.
    upload: Option<Arc<Upload>>,
    end: End,
}

/// How the exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing was sent: the connection is as good as before.
    Unused,
    Unfinished,
    Finished,
    Upgraded,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, grant: Grant<Arc<Conn>>) -> Self {
        let Grant {
            id,
            conn,
            ticket,
            reused,
        } = grant;
        conn.trace().lend();
        Self {
            pool,
            id,
            conn,
            ticket,
            reused,
            keep_for: None,
            upload: None,
            end: End::Unused,
        }
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    /// The place in the queue of the request that this was given to.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Whether the connection has served before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// From now on the connection is in the middle of an exchange.
    pub(crate) fn begin(&mut self, upload: Option<Arc<Upload>>) {
        self.upload = upload;
        self.end = End::Unfinished;
    }

    pub(crate) fn upload(&self) -> Option<&Upload> {
        self.upload.as_deref()
    }

    /// Whether the connection looks fit for a request.
    pub(super) fn is_usable(&self) -> bool {
        self.conn.is_ready() && self.conn.is_quiet()
    }

    /// The connection is not fit for a request, nor for any after it. Over HTTP/2, its other streams
    /// may go on.
    pub(crate) fn discard(mut self) {
        // The request goes elsewhere.
        self.upload = None;
        if self.conn.is_multiplexed() {
            self.pool.retire(self.id);
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn keep_for(&mut self, time: Option<Duration>) {
        self.keep_for = time;
    }

    /// The response has been read whole and the connection can be used again.
    pub(crate) fn finish(mut self) {
        self.end = End::Finished;
    }

    /// The response has been read whole. The connection comes back now if it can be used again, or
    /// by its driver as soon as it can: hyper hands out the last of a body before it is ready for
    /// the next request.
    pub(crate) fn complete(self) {
        if self.conn.is_multiplexed() || self.conn.is_ready() {
            self.finish();
        } else {
            let conn = self.conn.clone();
            conn.park(self, None, Instant::now() + GRACE);
        }
    }

    /// The rest of the response's body is not wanted. Where it is small, and reading it leaves a
    /// connection that can be used again, the driver reads on; else the connection is closed.
    pub(crate) fn leave(self, body: Incoming, reusable: bool) {
        let policy = self.pool.remainder();
        let is_large = body.size_hint().lower() > policy.max_bytes;
        if !reusable || is_large || policy.max_bytes == 0 {
            self.pool.count(|stats| stats.cut_and_closed += 1);
            // Before the body, whose end would have hyper look for more.
            drop(self);
            return;
        }
        let conn = self.conn.clone();
        let until = Instant::now() + policy.max_time;
        conn.park(self, Some((body, policy.max_bytes)), until);
    }

    /// What became of the rest that was read on.
    pub(crate) fn count_rest(&self, reused: bool) {
        self.pool.count(|stats| {
            if reused {
                stats.cut_and_reused += 1;
            } else {
                stats.cut_and_closed += 1;
            }
        });
    }

    /// The connection is no longer ours: an upgrade has taken it over.
    pub(crate) fn upgrade(mut self) {
        // How long it may be silent is no longer ours to say either.
        self.conn.set_write_timeout(None);
        self.end = End::Upgraded;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (End::Unfinished, Some(upload)) = (self.end, &self.upload) {
            upload.give_up();
        }
        let keep = match self.end {
            End::Finished => Ok(self.keep_for),
            // Only its stream is reset.
            End::Unused | End::Unfinished if self.conn.is_multiplexed() => Ok(None),
            // Its request has left before its turn was told to it.
            End::Unused if self.is_usable() => Ok(self.keep_for),
            End::Unused => Err(CloseCause::Remote),
            End::Unfinished => Err(CloseCause::Unfinished),
            End::Upgraded => return self.pool.upgraded(self.id),
        };
        self.conn.trace().give_back();
        if keep.is_err() {
            // At once, and not when the pool has come to it: a request half written must not
            // go on.
            self.conn.order(Order::Abort);
        }
        self.pool.release(self.id, keep);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("reused", &self.reused)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
