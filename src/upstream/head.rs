//! Waiting for a response's head: whose turn it is, and how long it may take.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    config::Timeouts,
    conn::{ReadTimer, Timer, Upload},
    pool::Lease,
};

/// The clocks of a request that is under way.
pub(super) struct HeadClock {
    /// While the body is sent. Over HTTP/1.1 the socket has a clock for that; over HTTP/2 a stream
    /// can be held up while the socket is not.
    write: Option<Box<ReadTimer>>,
    /// From the end of the request.
    read: ReadTimer,
}

/// The phase that took too long, and how long it was given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    Write(Duration),
    Read(Duration),
}

impl HeadClock {
    pub(super) fn new(timeouts: &Timeouts, lease: &Lease, timer: Option<Timer>) -> Self {
        let is_watched = lease.upload().is_some() && lease.conn().is_multiplexed();
        let write = timeouts.write.filter(|_| is_watched);
        Self {
            // Few have one, so it takes no room in the others.
            write: write.map(|limit| Box::new(ReadTimer::new(Some(limit), None))),
            read: ReadTimer::new(timeouts.read, timer),
        }
    }

    /// Ready when the upstream has let its time pass.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>, lease: &Lease) -> Poll<Late> {
        if let Some(upload) = lease.upload()
            && upload.poll_done(cx).is_pending()
        {
            return match &mut self.write {
                Some(clock) => poll_held(clock, upload, cx).map(Late::Write),
                None => Poll::Pending,
            };
        }
        loop {
            let limit = ready!(self.read.poll_expired(cx));
            // What was taken from the body may still have been on its way out.
            match lease.conn().sending_until() {
                Some(at) if at + limit > Instant::now() => self.read.start_at(at),
                _ => return Poll::Ready(Late::Read(limit)),
            }
        }
    }

    /// The clock goes on with the body.
    pub(super) fn into_timer(mut self) -> ReadTimer {
        self.read.stop();
        self.read
    }
}

/// Ready when a piece of the body has been held for the clock's whole time.
fn poll_held(clock: &mut ReadTimer, upload: &Upload, cx: &mut Context<'_>) -> Poll<Duration> {
    loop {
        let limit = ready!(clock.poll_expired(cx));
        let now = Instant::now();
        match upload.held_since() {
            Some(at) if at + limit <= now => return Poll::Ready(limit),
            held => clock.start_at(held.unwrap_or(now)),
        }
    }
}
