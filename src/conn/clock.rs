use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::pool::{ConnId, Pool};

/// How long a connection that closes in good order may take for it (TLS has a farewell to write).
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The times of a connection, on one timer, which is only ever moved to an earlier time or after it
/// has rung: so an exchange costs no work on it.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// By when it must have closed, once it was told to.
    close_by: Option<Instant>,
    /// When to ask the pool whether it has been idle for too long; not before it says so, if there
    /// is none.
    check_at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// What the clock has rung for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// The caller's own time, or a time that is no more.
    Other,
    /// The time to close is over.
    Close,
}

impl Clock {
    /// Starts the time to close. False when it runs already.
    pub(super) fn start_closing(&mut self) -> bool {
        let first = self.close_by.is_none();
        self.close_by
            .get_or_insert_with(|| Instant::now() + CLOSE_TIMEOUT);
        first
    }

    /// Asks the pool whether its idle time is over.
    pub(super) fn check(&mut self, pool: &Arc<Pool>, id: ConnId) {
        self.check_at = pool.expire(id);
    }

    /// Waits for the first of these times and of `other`. Asks the pool by itself.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        other: Option<Instant>,
        pool: &Arc<Pool>,
        id: ConnId,
    ) -> Poll<Ring> {
        let times = [other, self.close_by, self.check_at];
        let Some(next) = times.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(next)));
        if next < sleep.deadline() || sleep.is_elapsed() {
            sleep.as_mut().reset(next);
        }
        ready!(sleep.as_mut().poll(cx));
        let now = Instant::now();
        let is_over = |time: Option<Instant>| time.is_some_and(|at| at <= now);
        if is_over(self.close_by) {
            return Poll::Ready(Ring::Close);
        }
        if is_over(self.check_at) {
            self.check(pool, id);
        }
        Poll::Ready(Ring::Other)
    }
}
