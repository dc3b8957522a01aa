//! Starting dials, one after another and never one inside another.

use std::{cell::RefCell, collections::VecDeque, sync::Arc};

use tokio::runtime::Handle;

use super::{Dial, Pool, Slot};
use crate::conn::dial;

type Dials = VecDeque<(Arc<Pool>, Dial, Slot)>;

thread_local! {
    /// The dials that this thread has yet to start, while it starts one.
    static PENDING: RefCell<Option<Dials>> = const { RefCell::new(None) };
}

/// Starts the dials. On a runtime that is gone a task is dropped as soon as it is spawned: its slot
/// comes free, and the next waiter's dial is asked for, inside the start of the first. So that this
/// takes no stack, whoever comes while a dial is being started leaves his own to that one.
pub(super) fn all(pool: &Arc<Pool>, dials: Vec<Dial>) {
    if dials.is_empty() {
        return;
    }
    let dials = dials.into_iter().map(|dial| {
        let slot = Slot::new(pool.clone(), dial.id);
        (pool.clone(), dial, slot)
    });
    // A thread that is ending has no place for them any more, nor a runtime: their slots come free.
    let nested = PENDING.try_with(|pending| {
        let mut pending = pending.borrow_mut();
        let nested = pending.is_some();
        pending.get_or_insert_default().extend(dials);
        nested
    });
    if nested == Ok(false) {
        let starting = Starting;
        while let Some((pool, dial, slot)) = starting.next() {
            let runtime = Handle::try_current().ok().or_else(|| pool.runtime());
            // Without a runtime the slot is dropped here, and whoever waits is told.
            if let Some(runtime) = runtime {
                runtime.spawn(dial::run(pool, dial, slot));
            }
        }
    }
}

/// While this lives, the thread is starting dials.
struct Starting;

impl Starting {
    fn next(&self) -> Option<(Arc<Pool>, Dial, Slot)> {
        let next = PENDING.try_with(|pending| pending.borrow_mut().as_mut()?.pop_front());
        next.ok().flatten()
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // What is left after a panic is dropped outside the borrow.
        drop(PENDING.try_with(RefCell::take));
    }
}
