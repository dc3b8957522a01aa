use std::{
    fmt, io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Conn, Sending};
use crate::{connect::Io, pool::Slot};

/// As much as hyper itself reads at first.
const FIRST_READ: usize = 8 * 1024;

/// An open socket and its slot, which is free again when the socket is gone and not before.
pub(super) struct SlotIo {
    io: Box<dyn Io>,
    /// Whether it is for this to note that a byte has come, since the connector does not.
    notes: bool,
    conn: Arc<Conn>,
    timer: Option<Pin<Box<Sleep>>>,
    stalled: bool,
    /// After `io`: fields are dropped in the order in which they stand.
    slot: Slot,
}

/// The upstream took no bytes for as long as the `write` timeout allows: inside an
/// [`io::Error`].
#[derive(Debug)]
pub(crate) struct WriteTimedOut(pub(crate) std::time::Duration);

impl SlotIo {
    pub(super) fn new(io: Box<dyn Io>, notes: bool, conn: Arc<Conn>, slot: Slot) -> Self {
        Self {
            io,
            notes,
            conn,
            timer: None,
            stalled: false,
            slot,
        }
    }

    /// Runs the `write` clock while the socket takes nothing, and only then: a body that is slow
    /// to be produced never comes here.
    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            if self.stalled {
                self.set_stalled(false);
            }
            return poll;
        }
        let Some(limit) = self.conn.write_timeout() else {
            return Poll::Pending;
        };
        if !self.stalled {
            self.set_stalled(true);
            let at = Instant::now() + limit;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(at),
                None => self.timer = Some(Box::pin(sleep_until(at))),
            }
        }
        let expired = self
            .timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if expired {
            let error = io::Error::new(io::ErrorKind::TimedOut, WriteTimedOut(limit));
            return Poll::Ready(Err(error));
        }
        Poll::Pending
    }

    /// Notes whether there is a byte of an answer. A cursor does not tell what was put into it, so
    /// the first read of a response takes the way round by a buffer that does.
    fn poll_first_read(
        &mut self,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); FIRST_READ];
        let mut first = ReadBuf::uninit(&mut space[..buf.remaining().min(FIRST_READ)]);
        ready!(Pin::new(&mut self.io).poll_read(cx, first.unfilled()))?;
        if !first.filled().is_empty() {
            self.conn.answered.store(true, Ordering::Relaxed);
            buf.put_slice(first.filled());
        }
        Poll::Ready(Ok(()))
    }

    fn set_stalled(&mut self, stalled: bool) {
        self.stalled = stalled;
        self.conn.cell().sending = if stalled {
            Sending::Stalled
        } else {
            Sending::FlowsSince(Instant::now())
        };
    }
}

impl Drop for SlotIo {
    fn drop(&mut self) {
        let mut cell = self.conn.cell();
        let (cause, failure) = (cell.cause, cell.failure.take());
        drop(cell);
        self.slot.set_cause(cause);
        if let Some(failure) = failure {
            self.slot.fail(failure);
        }
    }
}

impl Read for SlotIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.notes && !self.conn.has_answered() {
            self.poll_first_read(cx, buf)
        } else {
            Pin::new(&mut self.io).poll_read(cx, buf)
        }
    }
}

impl Write for SlotIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl fmt::Debug for SlotIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotIo")
            .field("origin", self.conn.origin())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for WriteTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no byte was taken for {:?}", self.0)
    }
}

impl std::error::Error for WriteTimedOut {}
