//! The task of one connection: it opens it, hands it to the pool, and drives it to its end.

use std::{pin::pin, sync::Arc};

use futures_util::future::{Either, select};
use tokio::time::Instant;

use super::{Conn, h1, io::SlotIo};
use crate::{
    connect::Connected,
    error::{Error, ErrorKind, Phase},
    pool::{Dial, Pool, Slot, Terms},
};

/// Opens the connection that `dial` asks for, and drives it. The pool owns this, not the request
/// that was first to want it: a request that leaves takes no other's connection with it.
pub(crate) async fn run(pool: Arc<Pool>, dial: Dial, slot: Slot) {
    let deadline = dial.timeout.map(|limit| Instant::now() + limit);
    let connected = match select(pin!(pool.aborted()), pin!(connect(&pool, &dial, deadline))).await
    {
        // The slot is free when it is dropped, and the pool tells whoever may still wait.
        Either::Left(_) => return,
        Either::Right((connected, _)) => connected,
    };
    let Connected { io, probe } = match connected {
        Ok(connected) => connected,
        Err(error) => return pool.dial_failed(&slot, &error),
    };
    let conn = Arc::new(Conn::new(dial.key.origin().clone(), probe));
    // From here on the slot is free when the socket is gone.
    let io = SlotIo::new(io, conn.clone(), slot);
    // Should it fail, the slot goes with the I/O object, and whoever waits is told.
    if let Ok(driver) = h1::handshake(io, &conn, &pool, dial.id).await {
        let terms = Terms {
            capacity: 1,
            ages_at: pool.ages_at(),
        };
        pool.dialed(dial.id, conn, terms);
        driver.await;
    }
}

async fn connect(pool: &Pool, dial: &Dial, deadline: Option<Instant>) -> Result<Connected, Error> {
    let origin = dial.key.origin();
    let connect = pool.connector().connect(origin, deadline);
    let result = match deadline {
        Some(at) => tokio::time::timeout_at(at, connect)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::ConnectTimeout))),
        None => connect.await,
    };
    result.map_err(|error| {
        let error = error.with_phase(Phase::Connect).with_origin(origin);
        match (error.kind(), dial.timeout) {
            (ErrorKind::ConnectTimeout, Some(limit)) => error.after(limit),
            _ => error,
        }
    })
}
