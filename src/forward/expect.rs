//! `Expect: 100-continue` (RFC 9110 §10.1.1), from end to end: the client is not asked for its body
//! before the upstream has asked for it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode, header::EXPECT};
use tokio::time::{Sleep, sleep};

use super::list;

/// How long the upstream may take to ask. Many never do, and wait for the body all the same.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn is_expected(headers: &HeaderMap) -> bool {
    list::has(headers, EXPECT, "100-continue")
}

/// Opens when the upstream asks for the body.
#[derive(Clone, Default)]
pub(super) struct Gate {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_open: AtomicBool,
    waker: AtomicWaker,
}

/// The body's side of a [`Gate`].
pub(super) struct Gated {
    gate: Gate,
    patience: Pin<Box<Sleep>>,
}

impl Gate {
    pub(super) fn on_informational(&self, status: StatusCode) {
        if status == StatusCode::CONTINUE {
            self.shared.is_open.store(true, Ordering::Release);
            self.shared.waker.wake();
        }
    }
}

impl Gated {
    pub(super) fn new(gate: Gate) -> Self {
        Self {
            gate,
            patience: Box::pin(sleep(PATIENCE)),
        }
    }

    /// Ready once the body may be sent.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.gate.shared;
        shared.waker.register(cx.waker());
        if shared.is_open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").finish_non_exhaustive()
    }
}
