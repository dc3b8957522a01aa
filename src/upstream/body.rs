use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{failure, head::Late};
use crate::{
    conn::ReadTimer,
    error::{Error, ErrorKind},
    pool::Lease,
};

/// A response's body as it streams in.
///
/// It holds its connection until it ends, fails or is dropped, whichever is first. Dropped before
/// its end, it leaves the rest to [`RemainderPolicy`](crate::RemainderPolicy): a small one is read
/// on in the background, so that the connection is kept.
///
/// The `read` timeout runs while whoever polls it waits for the upstream, and never while nobody
/// does. After its end or an error it is empty.
pub struct UpstreamBody {
    /// `None` once it has ended.
    open: Option<Open>,
}

struct Open {
    body: Incoming,
    lease: Lease,
    timer: ReadTimer,
    /// Whether reading the rest would leave a connection that can be used again.
    reusable: bool,
}

impl UpstreamBody {
    pub(super) fn new(body: Incoming, lease: Lease, timer: ReadTimer, reusable: bool) -> Self {
        let open = Open {
            body,
            lease,
            timer,
            reusable,
        };
        let mut this = Self { open: Some(open) };
        this.release_at_end();
        this
    }

    pub(super) fn empty() -> Self {
        Self { open: None }
    }

    /// Reads the whole body, of at most `max` bytes. Trailers are left aside.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BodyTooLarge`] as soon as it is longer, and whatever befalls the body itself.
    pub async fn bytes(mut self, max: usize) -> Result<Bytes, Error> {
        let too_large = |origin| {
            let error = Error::new(ErrorKind::BodyTooLarge)
                .with_detail(format!("more than {max} bytes"))
                .sent();
            match origin {
                Some(origin) => error.with_origin(&origin),
                None => error,
            }
        };
        let origin = self
            .open
            .as_ref()
            .map(|open| open.lease.conn().origin().clone());
        if self.size_hint().lower() > max as u64 {
            return Err(too_large(origin));
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if first.len() + all.len() + data.len() > max {
                return Err(too_large(origin));
            }
            // A body of one piece, as most are, is passed on as it came.
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// Reads the whole body, of at most `max` bytes, as UTF-8. What is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes).
    pub async fn text(self, max: usize) -> Result<String, Error> {
        let bytes = self.bytes(max).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Gives the connection back as soon as the last frame is here: nobody may ask for the end
    /// after it.
    fn release_at_end(&mut self) {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.body.is_end_stream())
        {
            self.complete();
        }
    }

    fn complete(&mut self) {
        if let Some(Open { lease, timer, .. }) = self.open.take() {
            if let Some(timer) = timer.into_inner() {
                lease.conn().return_timer(timer);
            }
            lease.complete();
        }
    }

    fn fail(
        &mut self,
        error: impl FnOnce(&Lease) -> Error,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(self.open.take().map(|open| Err(error(&open.lease))))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(open) = &mut self.open else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(&mut open.body).poll_frame(cx) else {
            let limit = ready!(open.timer.poll_expired(cx));
            return self.fail(|lease| failure::late(lease, Late::Read(limit)));
        };
        open.timer.stop();
        match frame {
            Some(Ok(frame)) => {
                if frame.is_trailers() {
                    // Nothing comes after them.
                    self.complete();
                } else {
                    self.release_at_end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => self.fail(|lease| failure::in_body(error, lease.conn())),
            None => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.open
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |open| open.body.size_hint())
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.lease.leave(open.body, open.reusable);
        }
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody")
            .field("ended", &self.open.is_none())
            .finish_non_exhaustive()
    }
}
