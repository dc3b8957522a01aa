use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::pool::Lease;

/// What an exchange leaves behind for the driver to finish. Dropped, it gives up: its lease has the
/// connection aborted, or, over HTTP/2, the stream reset.
#[derive(Debug)]
pub(super) struct Parked {
    lease: Lease,
    rest: Option<Rest>,
    /// There was a rest to read.
    cut: bool,
    pub(super) until: Instant,
}

/// The rest of a body that was dropped.
#[derive(Debug)]
struct Rest {
    body: Incoming,
    /// How much of it is read on at most.
    left: u64,
}

impl Parked {
    pub(super) fn new(lease: Lease, rest: Option<(Incoming, u64)>, until: Instant) -> Self {
        Self {
            lease,
            cut: rest.is_some(),
            rest: rest.map(|(body, left)| Rest { body, left }),
            until,
        }
    }

    /// Reads the rest on. Ready with whether it came to its end.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(true);
        };
        loop {
            let Some(frame) = ready!(Pin::new(&mut rest.body).poll_frame(cx)) else {
                break;
            };
            let Ok(frame) = frame else {
                return Poll::Ready(false);
            };
            let read = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(left) = rest.left.checked_sub(read) else {
                return Poll::Ready(false);
            };
            rest.left = left;
            if rest.body.is_end_stream() {
                break;
            }
        }
        self.rest = None;
        Poll::Ready(true)
    }

    /// Ends it: in good order, if it came to that.
    pub(super) fn end(self, clean: bool) {
        if self.cut {
            self.lease.count_rest(clean);
        }
        if clean {
            self.lease.finish();
        }
    }
}
