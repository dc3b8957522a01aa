use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::upload::{End, Upload};
use crate::error::BoxError;

/// A request's body on its way out: boxed once, unless it is empty. A request is moved many times on
/// its way, so its body is no more than a pointer.
#[derive(Default)]
pub(crate) struct RequestBody {
    stream: Option<Pin<Box<Stream<Boxed>>>>,
}

type Boxed = dyn Body<Data = Bytes, Error = BoxError> + Send;

pin_project! {
    struct Stream<B: ?Sized> {
        // What is left of a piece of the body that was larger than is sent at once.
        rest: Bytes,
        upload: Uploading,
        // Last, since its type is not known.
        #[pin]
        body: B,
    }
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
        let stream = Stream {
            rest: Bytes::new(),
            upload: Uploading(Arc::new(Upload::new())),
            body: AsBytes { body },
        };
        Self {
            stream: Some(Box::pin(stream)),
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

impl Stream<Boxed> {
    fn poll_piece(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let (rest, body) = (this.rest, this.body);
        if rest.is_empty() {
            let frame = match ready!(body.poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => *rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let piece = rest.split_to(rest.len().min(PIECE));
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
            Poll::Pending => stream.as_mut().poll_piece(cx),
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
            .map_or_else(|| SizeHint::with_exact(0), |stream| stream.size_hint())
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("size_hint", &self.size_hint())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body_util::Full;

    use super::*;

    #[test]
    fn a_body_ends_and_its_upload_with_it_before_it_is_dropped() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut body = RequestBody::new(Full::new(Bytes::from(vec![0; PIECE + 1])));
        let upload = body.upload().unwrap();
        for left in [1, 0] {
            assert!(!body.is_end_stream(), "there is more");
            let frame = Pin::new(&mut body).poll_frame(&mut cx);
            assert!(matches!(frame, Poll::Ready(Some(Ok(_)))), "a piece of it");
            assert_eq!(body.size_hint().exact(), Some(left), "and what is left");
        }
        assert!(
            body.is_end_stream(),
            "the last piece is known to be the last"
        );
        assert!(upload.poll_done(&mut cx).is_pending(), "not taken whole");
        let end = Pin::new(&mut body).poll_frame(&mut cx);
        assert!(matches!(end, Poll::Ready(None)));
        assert!(upload.poll_done(&mut cx).is_ready(), "taken whole");
    }
}
