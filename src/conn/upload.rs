//! How far a request's body is on its way out.
//!
//! It takes its atomics and wakers from `crate::sync`, so that a test can try every interleaving of
//! the threads that use it.

use std::{
    sync::PoisonError,
    task::{Context, Poll},
};

use tokio::time::Instant;

use crate::sync::{AtomicU8, AtomicWaker, Mutex, Ordering};

/// Shared by the body and its exchange, since the time for the response only runs once the request
/// is out.
#[derive(Debug)]
pub(crate) struct Upload {
    end: AtomicU8,
    waker: AtomicWaker,
    /// Of whoever sends the body, while that has nothing to give.
    sender: AtomicWaker,
    /// Since when hyper has held a piece without asking for the next: it cannot send it.
    held_since: Mutex<Option<Instant>>,
}

/// How it ended. The later overrides the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum End {
    /// Nothing more is taken from the body.
    Done = 1,
    /// The body itself failed.
    Failed = 2,
    /// Nobody waits for the response any more.
    GivenUp = 3,
}

impl Upload {
    pub(super) fn new() -> Self {
        Self {
            end: AtomicU8::new(0),
            waker: AtomicWaker::new(),
            sender: AtomicWaker::new(),
            held_since: Mutex::new(None),
        }
    }

    /// Ready once nothing more is taken from the body.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_ended() {
            self.waker.register(cx.waker());
            // It may have ended between the look and the registration.
            if !self.has_ended() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Whether the body itself failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.end.load(Ordering::Acquire) == End::Failed as u8
    }

    /// Nobody waits for the response: hyper would go on sending, and keep the stream open for that.
    pub(crate) fn give_up(&self) {
        self.end(End::GivenUp);
        self.sender.wake();
    }

    /// Ready once nobody waits for the response.
    pub(super) fn poll_given_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.sender.register(cx.waker());
        if self.end.load(Ordering::Acquire) == End::GivenUp as u8 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Since when the upstream has taken nothing of what there is to send.
    pub(crate) fn held_since(&self) -> Option<Instant> {
        *self
            .held_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_held_since(&self, since: Option<Instant>) {
        *self
            .held_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = since;
    }

    pub(super) fn end(&self, end: End) {
        self.end.fetch_max(end as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    fn has_ended(&self) -> bool {
        self.end.load(Ordering::Acquire) != 0
    }
}
