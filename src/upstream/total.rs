//! The `total` timeout once the head is here: it must also end a body that nobody polls.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{AbortHandle, abortable},
};
use http_body::Frame;
use tokio::time::{Instant, sleep_until};

use super::{
    body::{Open, poll_next},
    place::{Expired, Place},
};
use crate::{
    error::{Error, ErrorKind, Phase},
    origin::Origin,
    pool::Pool,
    trace,
};

/// When an exchange must be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// How long that is after its start.
    pub(super) limit: Duration,
}

impl Deadline {
    pub(super) fn new(start: Instant, at: Instant) -> Self {
        Self {
            at,
            limit: at.saturating_duration_since(start),
        }
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

/// Takes the body away. Counted here, and not when the reader is told: it may have stopped to look.
fn expire(place: &Place<Open>) {
    place.expire(|open| {
        count(open.lease().pool());
        open.fail(ErrorKind::TotalTimeout);
    });
}

/// A body that its reader shares with a chore of its connection's driver, which takes it away at the
/// deadline.
pub(super) struct Watched {
    /// Taken away, its lease is dropped unfinished, which closes the connection or resets the stream.
    place: Arc<Place<Open>>,
    deadline: Deadline,
    origin: Origin,
    chore: AbortHandle,
    /// The deadline was missed, and that has been told.
    told: bool,
}

impl Watched {
    pub(super) fn new(open: Open, deadline: Deadline) -> Self {
        let origin = open.lease().conn().origin().clone();
        let conn = open.lease().conn().clone();
        let place = Arc::new(Place::new(open));
        let watched = Arc::downgrade(&place);
        let (chore, handle) = abortable(async move {
            sleep_until(deadline.at).await;
            if let Some(place) = watched.upgrade() {
                expire(&place);
            }
        });
        conn.run(chore.map(|_aborted| ()));
        Self {
            place,
            deadline,
            origin,
            chore: handle,
            told: false,
        }
    }

    pub(super) fn with_open<R>(&self, look: impl FnOnce(Option<&Open>) -> R) -> R {
        self.place.with(|open| look(open.map(|open| &*open)))
    }

    pub(super) fn trace(&self, trace: trace::Exchange) {
        self.place.with(|open| match open {
            Some(open) => open.trace = Some(trace),
            // The clock was first.
            None => trace.failed(ErrorKind::TotalTimeout),
        });
    }

    pub(super) fn is_over(&self) -> bool {
        self.told || self.place.is_over()
    }

    pub(super) fn take(&mut self) -> Option<Open> {
        self.place.take()
    }

    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.told {
            return Poll::Ready(None);
        }
        // The driver may have ended before the deadline, and what it had read still be here.
        if self.deadline.at <= Instant::now() {
            expire(&self.place);
        }
        Poll::Ready(match ready!(self.place.poll(cx, poll_next)) {
            Ok(frame) => frame,
            Err(Expired) => {
                self.told = true;
                Some(Err(self.deadline.error(&self.origin, true)))
            }
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.chore.abort();
    }
}
