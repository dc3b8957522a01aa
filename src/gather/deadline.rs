use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// When everything is to be over, if it must be at all.
#[derive(Debug)]
pub(super) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// # Panics
    ///
    /// If there is a deadline, and no tokio runtime.
    pub(super) fn new(after: Option<Duration>) -> Self {
        Self(after.map(|after| Box::pin(sleep(after))))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
