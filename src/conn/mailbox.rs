//! What exchanges and the pool have to say to a connection's driver.
//!
//! It takes its locks and wakers from `crate::sync`, so that a test can try every interleaving of the
//! threads that use it.

use std::{mem, sync::PoisonError, task::Waker};

use crate::sync::{AtomicU8, AtomicWaker, Mutex, Ordering};

/// Work left to one reader, and its orders. What is left once the reader has ended comes back.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    /// `None` once the reader has ended.
    work: Mutex<Option<Vec<T>>>,
    order: AtomicU8,
    reader: AtomicWaker,
}

/// What the driver is told to do. The higher overrides the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    Run,
    /// End in good order: nothing is under way.
    Close,
    /// Drop the socket, since an exchange was left unfinished.
    Abort,
    /// Drop the socket, since the pool's time is up.
    Drain,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self {
            work: Mutex::new(Some(Vec::new())),
            order: AtomicU8::new(Order::Run as u8),
            reader: AtomicWaker::new(),
        }
    }

    /// Leaves work to the reader. It comes back if the reader has ended: nobody would look after it.
    pub(super) fn leave(&self, work: T) -> Option<T> {
        let mut place = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = &mut *place else {
            return Some(work);
        };
        all.push(work);
        drop(place);
        self.reader.wake();
        None
    }

    /// Gives an order, unless a higher one was given before.
    pub(super) fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.reader.wake();
    }

    pub(super) fn current_order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Run,
            1 => Order::Close,
            2 => Order::Abort,
            _ => Order::Drain,
        }
    }

    /// Wakes the reader from now on, whatever comes. Before a look at what is there already.
    pub(super) fn listen(&self, reader: &Waker) {
        self.reader.register(reader);
    }

    /// What was left since the last look.
    pub(super) fn take(&self) -> Vec<T> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.as_mut().map(mem::take).unwrap_or_default()
    }

    /// The reader ends: what it has not taken is the caller's, and nothing is left to it any more.
    pub(super) fn close(&self) -> Vec<T> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.take().unwrap_or_default()
    }
}
