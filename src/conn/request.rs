use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::upload::{End, Upload};
use crate::error::BoxError;

/// A request's body on its way out: boxed once, unless it is empty.
#[derive(Debug, Default)]
pub(crate) struct RequestBody {
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    body: UnsyncBoxBody<Bytes, BoxError>,
    /// What is left of a piece of the body that was larger than is sent at once.
    rest: Bytes,
    upload: Uploading,
}

/// A body's larger pieces are sent in such ones, so that progress can be seen.
const PIECE: usize = 64 * 1024;

pin_project! {
    /// A body of any data as one of [`Bytes`], which costs nothing where it is one. Unlike
    /// http-body-util's `map_frame` it keeps the length, and so the request its `Content-Length`.
    struct AsBytes<B> {
        #[pin]
        body: B,
    }
}

impl<B> Body for AsBytes<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.project().body.poll_frame(cx));
        let as_bytes =
            |frame: Frame<B::Data>| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        Poll::Ready(frame.map(|frame| frame.map(as_bytes).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

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
        let body = AsBytes { body }.boxed_unsync();
        let upload = Uploading(Arc::new(Upload::new()));
        Self {
            stream: Some(Stream {
                body,
                rest: Bytes::new(),
                upload,
            }),
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

impl Stream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper().and_then(|upper| upper.checked_add(rest)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        // A body that panics takes its connection's driver with it, and this along.
        let panics = std::thread::panicking();
        self.0.end(if panics { End::Failed } else { End::Done });
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
        let poll = match stream.upload.0.poll_given_up(cx) {
            // Which hyper then resets the stream with.
            Poll::Ready(()) => Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into()))),
            Poll::Pending => stream.poll_piece(cx),
        };
        // While the body itself has nothing to give, nobody is to blame but it.
        let held = poll.is_ready().then(Instant::now);
        stream.upload.0.set_held_since(held);
        match &poll {
            Poll::Ready(Some(Err(_))) => {
                stream.upload.0.end(End::Failed);
                self.stream = None;
            }
            Poll::Ready(None) => self.stream = None,
            _ => {}
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.stream
            .as_ref()
            .is_none_or(|stream| stream.rest.is_empty() && stream.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.stream
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Stream::size_hint)
    }
}
