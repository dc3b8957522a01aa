//! The `total` timeout once the head is here: it must also end a body that nobody polls.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{AbortHandle, abortable},
    task::AtomicWaker,
};
use http_body::Frame;
use tokio::time::{Instant, sleep_until};

use super::body::{Open, poll_next};
use crate::{
    error::{Error, ErrorKind, Phase},
    origin::Origin,
    pool::Pool,
};

/// When an exchange must be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// How long that is after its start.
    pub(super) limit: Duration,
}

impl Deadline {
    pub(super) fn new(start: Instant, limit: Option<Duration>) -> Option<Self> {
        limit.map(|limit| Self {
            at: start + limit,
            limit,
        })
    }

    /// There was no head in time.
    pub(super) fn missed(self, pool: &Pool, origin: &Origin, sent: bool) -> Error {
        count(pool);
        self.error(origin, sent)
    }

    fn error(self, origin: &Origin, sent: bool) -> Error {
        let error = Error::new(ErrorKind::TotalTimeout)
            .with_origin(origin)
            .after(self.limit);
        if sent {
            error.with_phase(Phase::Read).sent()
        } else {
            error
        }
    }
}

fn count(pool: &Pool) {
    pool.count(|stats| stats.timed_out_total += 1);
}

/// A body that its reader shares with a chore of its connection's driver, which takes it away at the
/// deadline.
pub(super) struct Watched {
    shared: Arc<Shared>,
    deadline: Deadline,
    origin: Origin,
    chore: AbortHandle,
    /// The end, good or bad, has been handed out.
    over: bool,
}

struct Shared {
    open: Mutex<Option<Open>>,
    expired: AtomicBool,
    reader: AtomicWaker,
}

impl Watched {
    pub(super) fn new(open: Open, deadline: Deadline, origin: Origin) -> Self {
        let conn = open.lease().conn().clone();
        let shared = Arc::new(Shared {
            open: Mutex::new(Some(open)),
            expired: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        });
        let watched = Arc::downgrade(&shared);
        let (chore, handle) = abortable(async move {
            sleep_until(deadline.at).await;
            if let Some(shared) = watched.upgrade() {
                shared.expire();
            }
        });
        conn.run(chore.map(|_aborted| ()));
        Self {
            shared,
            deadline,
            origin,
            chore: handle,
            over: false,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.shared.lock()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over || (self.lock().is_none() && !self.shared.expired.load(Ordering::Acquire))
    }

    pub(super) fn take(&mut self) -> Option<Open> {
        self.lock().take()
    }

    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        // Before the look, so that what happens after it is not missed.
        self.shared.reader.register(cx.waker());
        // The driver may have ended before the deadline, and what it had read still be here.
        if self.deadline.at <= Instant::now() {
            self.shared.expire();
        }
        let poll = poll_next(&mut self.lock(), cx);
        match poll {
            Poll::Ready(None) if self.shared.expired.load(Ordering::Acquire) => {
                self.over = true;
                Poll::Ready(Some(Err(self.deadline.error(&self.origin, true))))
            }
            poll => poll,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.chore.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the body away; its lease, dropped unfinished, closes the connection or resets the
    /// stream.
    fn expire(&self) {
        // Not dropped under the lock: the end of a lease does much.
        let open = self.lock().take();
        if let Some(open) = open {
            self.expired.store(true, Ordering::Release);
            // Here, and not when the reader is told: it may have stopped to look.
            count(open.lease().pool());
            drop(open);
            self.reader.wake();
        }
    }
}
