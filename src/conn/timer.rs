use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that can be lent.
pub(crate) type Timer = Pin<Box<Sleep>>;

/// The clock of the `read` phase: it runs only while the upstream is being waited for.
#[derive(Debug)]
pub(crate) struct ReadTimer {
    limit: Option<Duration>,
    /// Made when it is first needed; its re-arming for a later time costs no lock.
    sleep: Option<Timer>,
    running: bool,
}

impl ReadTimer {
    pub(crate) fn new(limit: Option<Duration>, sleep: Option<Timer>) -> Self {
        Self {
            limit,
            sleep,
            running: false,
        }
    }

    /// Runs from the first call after a [`stop`](Self::stop), and is ready, with its limit, when
    /// that has passed.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        if !self.running {
            self.start_at(Instant::now());
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(limit)
    }

    /// Runs as if it had been started then.
    pub(crate) fn start_at(&mut self, start: Instant) {
        let Some(limit) = self.limit else { return };
        self.running = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(start + limit),
            None => self.sleep = Some(Box::pin(sleep_until(start + limit))),
        }
    }

    pub(crate) fn stop(&mut self) {
        self.running = false;
    }

    pub(crate) fn into_inner(self) -> Option<Timer> {
        self.sleep
    }
}
