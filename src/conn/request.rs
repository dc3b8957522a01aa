use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use crate::error::BoxError;

/// A request's body on its way out: boxed once, unless it is empty.
#[derive(Debug, Default)]
pub(crate) struct RequestBody {
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    body: UnsyncBoxBody<Bytes, BoxError>,
    upload: Uploading,
}

/// How far the body is: shared with the exchange, since the time for the response only runs once
/// the request is out.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    state: AtomicU8,
    waker: AtomicWaker,
}

const DONE: u8 = 1;
const FAILED: u8 = 2;

/// Ends the upload when it is dropped, whether the body came to its end or not.
#[derive(Debug)]
struct Uploading(Arc<Upload>);

impl RequestBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::default();
        }
        let body = body
            .map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
            .map_err(Into::into)
            .boxed_unsync();
        let upload = Uploading(Arc::default());
        Self {
            stream: Some(Stream { body, upload }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stream.is_none()
    }

    /// How far it is; `None` when there is nothing to send.
    pub(crate) fn upload(&self) -> Option<Arc<Upload>> {
        self.stream.as_ref().map(|stream| stream.upload.0.clone())
    }
}

impl Upload {
    /// Ready once nothing more is taken from the body.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.load(Ordering::Acquire) == 0 {
            self.waker.register(cx.waker());
            // It may have ended between the look and the registration.
            if self.state.load(Ordering::Acquire) == 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Whether the body itself failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.load(Ordering::Acquire) == FAILED
    }

    fn end(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
        self.waker.wake();
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.end(DONE);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(&mut stream.body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                stream.upload.0.end(FAILED);
                self.stream = None;
            }
            None => self.stream = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.stream
            .as_ref()
            .is_none_or(|stream| stream.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.stream
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |stream| stream.body.size_hint())
    }
}
