//! Where a body lies that its reader shares with a clock.
//!
//! It takes its locks and wakers from `crate::sync`, so that a test can try every interleaving of the
//! threads that use it.

use std::{
    sync::PoisonError,
    task::{Context, Poll},
};

use crate::sync::{AtomicWaker, Mutex, MutexGuard};

/// A value with a reader, which a clock may take away.
#[derive(Debug)]
pub(super) struct Place<T> {
    held: Mutex<Held<T>>,
    reader: AtomicWaker,
}

/// Both under one lock: a reader that finds nothing knows whether that is a good end.
#[derive(Debug)]
struct Held<T> {
    value: Option<T>,
    expired: bool,
}

/// The clock was first.
#[derive(Debug)]
pub(super) struct Expired;

impl<T> Place<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            held: Mutex::new(Held {
                value: Some(value),
                expired: false,
            }),
            reader: AtomicWaker::new(),
        }
    }

    /// Reads, and is woken if the clock takes the value away meanwhile.
    pub(super) fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut Option<T>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<Result<R, Expired>> {
        // Before the look, so that what happens after it is not missed.
        self.reader.register(cx.waker());
        let mut held = self.lock();
        if held.expired {
            return Poll::Ready(Err(Expired));
        }
        read(&mut held.value, cx).map(Ok)
    }

    pub(super) fn with<R>(&self, look: impl FnOnce(Option<&mut T>) -> R) -> R {
        look(self.lock().value.as_mut())
    }

    /// The reader has had it all, to a good end.
    pub(super) fn is_over(&self) -> bool {
        let held = self.lock();
        held.value.is_none() && !held.expired
    }

    /// The reader leaves.
    pub(super) fn take(&self) -> Option<T> {
        self.lock().value.take()
    }

    /// The clock takes the value away, and gives it to `end`.
    pub(super) fn expire(&self, end: impl FnOnce(T)) {
        let mut held = self.lock();
        let Some(value) = held.value.take() else {
            return;
        };
        held.expired = true;
        drop(held);
        // Not under the lock: the end of a lease does much.
        end(value);
        self.reader.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Held<T>> {
        // What it guards is whole after every statement, so a panic elsewhere spoils nothing.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
