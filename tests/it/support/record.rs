//! What the scripts of one upstream have seen, and how they have fared.

use std::{
    collections::HashSet,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;

/// Shared by a server, its connections and their scripts.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) open: AtomicUsize,
    pub(super) peak: AtomicUsize,
    pub(super) accepted: AtomicUsize,
    pub(super) requests: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    /// The connections on which something was wrong.
    faulty: Mutex<HashSet<usize>>,
    panicked: AtomicBool,
}

/// A request's head.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Its `x-id`, if it has one.
    pub(crate) id: Option<String>,
    /// Whether it came on a connection on which something had been wrong before.
    pub(crate) after_a_fault: bool,
}

impl Record {
    pub(super) fn opened(&self) {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(open, Ordering::SeqCst);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// From here on, no request may come on this connection.
    pub(super) fn fault(&self, connection: usize) {
        self.faulty.lock().unwrap().insert(connection);
    }

    pub(super) fn saw(&self, connection: usize, method: &str, id: Option<&str>) {
        let after_a_fault = self.faulty.lock().unwrap().contains(&connection);
        self.seen.lock().unwrap().push(Seen {
            method: method.to_owned(),
            id: id.map(str::to_owned),
            after_a_fault,
        });
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn forget_seen(&self) {
        *self.seen.lock().unwrap() = Vec::new();
    }

    /// Runs a script to its end, or to its panic, which [`assert_sound`](Self::assert_sound) tells.
    pub(super) async fn run(&self, script: impl Future) {
        if AssertUnwindSafe(script).catch_unwind().await.is_err() {
            self.panicked.store(true, Ordering::SeqCst);
        }
    }

    /// Fails the test if one of its scripts has panicked: nobody else would.
    #[track_caller]
    pub(super) fn assert_sound(&self) {
        let panicked = self.panicked.load(Ordering::SeqCst);
        assert!(
            !panicked || std::thread::panicking(),
            "a script of this server has panicked"
        );
    }
}
