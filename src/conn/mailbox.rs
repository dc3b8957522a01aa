//! What exchanges and the pool have to say to a connection's driver.
//!
//! It takes its locks and wakers from `crate::sync`, so that a test can try every interleaving of the
//! threads that use it.

use std::{collections::VecDeque, sync::PoisonError, task::Waker};

use crate::sync::{AtomicU8, AtomicWaker, Mutex, Ordering};

/// Work left to one reader, and its orders. What is left once the reader has ended comes back.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    /// `None` once the reader has ended. It keeps its room, since work comes with every exchange.
    work: Mutex<Option<VecDeque<T>>>,
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
            work: Mutex::new(Some(VecDeque::new())),
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
        all.push_back(work);
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

    /// The oldest of what was left and is not taken yet.
    pub(super) fn next(&self) -> Option<T> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.as_mut()?.pop_front()
    }

    /// The reader ends: what it has not taken is the caller's, and nothing is left to it any more.
    pub(super) fn close(&self) -> VecDeque<T> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.take().unwrap_or_default()
    }
}
