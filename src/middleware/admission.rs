use std::time::Duration;

use tokio::sync::Semaphore;
use tower::{
    Layer, ServiceBuilder,
    limit::{ConcurrencyLimit, GlobalConcurrencyLimitLayer},
    load_shed::{LoadShed, LoadShedLayer},
};

use crate::limit::{Admit, UntilBodyEnd, UntilBodyEndLayer, Wait, WaitLayer};

/// So many requests at work, so many more that wait, for so long; the rest is shed.
///
/// All clones, and all services made, share the two limits.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    admitted: GlobalConcurrencyLimitLayer,
    wait: WaitLayer,
    working: GlobalConcurrencyLimitLayer,
}

/// tower's limits, one over another.
pub(super) type Limit<S> = LoadShed<ConcurrencyLimit<Wait<ConcurrencyLimit<Admit<S>>>>>;

impl Admission {
    pub(super) fn new(max_in_flight: usize, max_pending: usize, wait: Duration) -> Self {
        let admitted = max_in_flight.saturating_add(max_pending);
        Self {
            admitted: limit(admitted),
            wait: WaitLayer::new(wait),
            working: limit(max_in_flight),
        }
    }
}

/// tokio's semaphore, which is tower's limit, panics on more permits than it can count.
fn limit(max: usize) -> GlobalConcurrencyLimitLayer {
    GlobalConcurrencyLimitLayer::new(max.min(Semaphore::MAX_PERMITS))
}

impl<S> Layer<S> for Admission {
    type Service = UntilBodyEnd<Limit<S>, S>;

    fn layer(&self, inner: S) -> Self::Service {
        let limit = ServiceBuilder::new()
            .layer(LoadShedLayer::new())
            .layer(&self.admitted)
            .layer(self.wait)
            .layer(&self.working);
        UntilBodyEndLayer::new(limit).layer(inner)
    }
}
