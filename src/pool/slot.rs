use std::{fmt, sync::Arc};

use super::{ConnId, Pool};
use crate::{error::Error, stats::CloseCause};

/// One socket, from the decision to dial until it is gone. It goes with the dial, then into the
/// I/O object: so the open sockets are the live slots, by construction.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    id: ConnId,
    cause: CloseCause,
    failure: Option<Error>,
}

impl Slot {
    pub(super) fn new(pool: Arc<Pool>, id: ConnId) -> Self {
        Self {
            pool,
            id,
            cause: CloseCause::Failed,
            failure: None,
        }
    }

    /// Why the connection goes, where the pool does not ask for it.
    pub(crate) fn set_cause(&mut self, cause: CloseCause) {
        self.cause = cause;
    }

    /// Why the dial has failed, for whoever waits for it. Without this, its loss is a bug or a
    /// panic somewhere.
    pub(crate) fn fail(&mut self, failure: Error) {
        self.failure = Some(failure);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.freed(self.id, self.cause, self.failure.as_ref());
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.id).finish()
    }
}
