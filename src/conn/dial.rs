//! The task of one connection: it opens it, hands it to the pool, and drives it to its end.

use std::{pin::pin, sync::Arc};

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout_at};

use super::{Conn, h1, h2, io::SlotIo};
use crate::{
    connect::Connected,
    error::{Error, ErrorKind, Phase},
    origin::Protocol,
    pool::{Dial, Pool, Slot, Terms},
};

/// Opens the connection that `dial` asks for, and drives it. The pool owns this, not the request
/// that was first to want it: a request that leaves takes no other's connection with it.
pub(crate) async fn run(pool: Arc<Pool>, dial: Dial, slot: Slot) {
    let start = Instant::now();
    pool.observer().connecting(dial.key.origin());
    let open = open(&pool, &dial, slot, start);
    let opened = match select(pin!(pool.aborted()), pin!(open)).await {
        // The slot is free when it is dropped, and the pool has told whoever may still wait.
        Either::Left(_) => return,
        Either::Right((opened, _)) => opened,
    };
    if let Some((conn, terms, driver)) = opened {
        conn.trace().opened(conn.origin());
        pool.dialed(dial.id, conn, terms);
        driver.await;
    }
}

/// Opens the connection. When that fails, the slot goes, and with it the reason to whoever waits.
async fn open(
    pool: &Arc<Pool>,
    dial: &Dial,
    mut slot: Slot,
    start: Instant,
) -> Option<(Arc<Conn>, Terms, impl Future<Output = ()> + use<>)> {
    let deadline = dial.timeout.map(|limit| start + limit);
    let connecting = pool.connector().connect(dial.key.origin(), deadline);
    let Connected {
        io,
        has_read,
        probe,
        http2,
    } = match by(deadline, connecting)
        .await
        .and_then(|connected| connected)
    {
        Ok(connected) => connected,
        Err(error) => {
            slot.fail(explain(error, dial));
            return None;
        }
    };
    let multiplexed = match dial.key.protocol() {
        Protocol::Http1 => false,
        Protocol::Http2 => true,
        Protocol::Negotiated => http2,
    };
    let origin = dial.key.origin();
    let trace = pool.observer().connection(origin, multiplexed, start);
    let notes = has_read.is_none();
    let answered = has_read.unwrap_or_default();
    let conn = Conn::new(origin.clone(), multiplexed, probe, answered, trace);
    let conn = Arc::new(conn);
    let ended = Error::new(ErrorKind::Closed).with_detail("during the handshake");
    conn.set_failure(explain(ended, dial));
    // From here on the slot is free when the socket is gone.
    let io = SlotIo::new(io, notes, conn.clone(), slot);
    let greeting = pin!(greet(pool, dial, io, conn.clone()));
    match by(deadline, greeting).await {
        Ok(greeted) => greeted.map(|(terms, driver)| (conn, terms, driver)),
        Err(error) => {
            conn.set_failure(explain(error, dial));
            None
        }
    }
}

/// What HTTP itself asks for before the first request.
async fn greet(
    pool: &Arc<Pool>,
    dial: &Dial,
    io: SlotIo,
    conn: Arc<Conn>,
) -> Option<(Terms, impl Future<Output = ()> + use<>)> {
    let (capacity, driver) = if conn.is_multiplexed() {
        let (driver, streams) = h2::handshake(io, &conn, pool, dial.id).await?;
        (streams, Either::Right(driver))
    } else {
        let driver = h1::handshake(io, &conn, pool, dial.id).await.ok()?;
        (1, Either::Left(driver))
    };
    let terms = Terms {
        multiplexed: conn.is_multiplexed(),
        capacity,
        ages_at: pool.ages_at(),
    };
    Some((terms, driver))
}

async fn by<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Result<T, Error> {
    match deadline {
        Some(at) => timeout_at(at, future)
            .await
            .map_err(|_| Error::new(ErrorKind::ConnectTimeout)),
        None => Ok(future.await),
    }
}

fn explain(error: Error, dial: &Dial) -> Error {
    let error = error
        .with_phase(Phase::Connect)
        .with_origin(dial.key.origin());
    match (error.kind(), dial.timeout) {
        (ErrorKind::ConnectTimeout, Some(limit)) => error.after(limit),
        _ => error,
    }
}
