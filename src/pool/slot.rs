use std::{fmt, sync::Arc};

use super::{ConnId, Pool};
use crate::stats::CloseCause;

/// One socket, from the decision to dial until it is gone. It goes with the dial, then into the
/// I/O object: so the open sockets are the live slots, by construction.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    id: ConnId,
    cause: CloseCause,
}

impl Slot {
    pub(super) fn new(pool: Arc<Pool>, id: ConnId) -> Self {
        Self {
            pool,
            id,
            cause: CloseCause::Failed,
        }
    }

    pub(super) fn id(&self) -> ConnId {
        self.id
    }

    /// Why it goes, where the pool does not ask for it.
    pub(crate) fn set_cause(&mut self, cause: CloseCause) {
        self.cause = cause;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.freed(self.id, self.cause);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.id).finish()
    }
}
