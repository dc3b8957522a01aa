use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{Deadlines, Lease, Overdue, Pool, Refusal, WaiterId};
use crate::error::Error;

/// What a waiter is answered with. Both values give themselves back when the waiter has gone.
pub(super) type Answer = oneshot::Sender<Result<Lease, Rejection>>;

/// Why a waiter gets no connection.
#[derive(Debug)]
pub(super) enum Rejection {
    Refused(Refusal),
    /// The dial it waited for failed.
    Dial(Error),
}

/// A place in the queue; its drop gives it up.
#[derive(Debug)]
pub(super) struct Waiter {
    pool: Arc<Pool>,
    id: WaiterId,
    /// False once it was answered: it has left the queue by then.
    queued: bool,
    answer: oneshot::Receiver<Result<Lease, Rejection>>,
}

impl Waiter {
    pub(super) fn new(
        pool: Arc<Pool>,
        id: WaiterId,
        answer: oneshot::Receiver<Result<Lease, Rejection>>,
    ) -> Self {
        Self {
            pool,
            id,
            queued: true,
            answer,
        }
    }

    /// Waits for a connection, for as long as the deadlines allow.
    pub(super) async fn wait(&mut self, deadlines: Deadlines) -> Result<Lease, Rejection> {
        let connect = deadlines.connect.map(|limit| Instant::now() + limit);
        let mut until = earlier(deadlines.pool, connect);
        loop {
            let answer = match until {
                Some(at) => timeout_at(at, &mut self.answer).await,
                None => Ok((&mut self.answer).await),
            };
            if let Ok(answer) = answer {
                self.queued = false;
                // Answers are only dropped unsent when the pool itself is.
                return answer.unwrap_or(Err(Refusal::Draining.into()));
            }
            match self.pool.overdue(self.id, deadlines) {
                Overdue::Wait(at) => until = at,
                Overdue::Refused(refusal) => return Err(refusal.into()),
            }
        }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.queued {
            self.pool.cancel(self.id);
        }
    }
}

impl Deadlines {
    pub(super) fn new(start: Instant, pool: Option<Duration>, connect: Option<Duration>) -> Self {
        Self {
            pool: pool.map(|limit| start + limit),
            connect,
        }
    }
}

/// The earlier of two times, where `None` is never.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
