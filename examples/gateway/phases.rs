//! Where the exchanges' time goes: their `Timing`s, added up phase by phase.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tower_upstream::Timing;

/// In seconds, the upper bounds of the buckets; a last one takes what is longer.
pub(crate) const BOUNDS: [f64; 17] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0, 20.0,
];

/// What an exchange does, in its order: it waits for its turn, connects, has the head come, then the
/// body.
#[derive(Default)]
pub(crate) struct Phases {
    wait: Histogram,
    connect: Histogram,
    head: Histogram,
    body: Histogram,
}

#[derive(Default)]
pub(crate) struct Histogram {
    /// How many were in each bucket, not up to it.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Phases {
    /// An exchange that has ended. What it did not come to is left out.
    pub(crate) fn record(&self, timing: &Timing) {
        let Some(waited) = timing.waited() else {
            return;
        };
        self.wait.record(waited);
        let connected = timing.connected();
        if let Some(connected) = connected {
            self.connect.record(connected);
        }
        let Some(head) = timing.head_after() else {
            return;
        };
        let before = waited + connected.unwrap_or_default();
        self.head.record(head.saturating_sub(before));
        if let Some(ended) = timing.ended_after() {
            self.body.record(ended.saturating_sub(head));
        }
    }

    pub(crate) fn all(&self) -> [(&'static str, &Histogram); 4] {
        [
            ("wait", &self.wait),
            ("connect", &self.connect),
            ("head", &self.head),
            ("body", &self.body),
        ]
    }
}

impl Histogram {
    fn record(&self, time: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < time.as_secs_f64());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn buckets(&self) -> Vec<u64> {
        let buckets = self.buckets.iter();
        buckets.map(|n| n.load(Ordering::Relaxed)).collect()
    }

    /// In seconds.
    pub(crate) fn sum(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64()
    }
}
