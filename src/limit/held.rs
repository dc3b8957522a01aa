use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A body that keeps a value, such as a permit, until it ends.
    ///
    /// The value is dropped when the body ends, fails or is dropped, whichever is first. A body
    /// that says [`is_end_stream`](Body::is_end_stream) has ended: servers do not poll it again.
    /// So an empty body never keeps its value, and one whose last frame is known to be the last
    /// gives it up together with that frame.
    ///
    /// Frames, trailers, size hint and errors are those of the body inside. Once ended, it stays
    /// so, whatever the body inside would say.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt, Full};
    /// use tower_upstream::limit::HeldBody;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let permit = Arc::new(());
    /// let mut body = HeldBody::new(Full::new(Bytes::from("hello")), Arc::clone(&permit));
    /// assert_eq!(Arc::strong_count(&permit), 2);
    ///
    /// body.frame().await;
    /// assert_eq!(Arc::strong_count(&permit), 1, "the only frame is also the end");
    /// # }
    /// ```
    pub struct HeldBody<B, H> {
        // Before `held`: what the body owns is given back before the permit that covers it.
        #[pin]
        body: B,
        // None once the body has ended.
        held: Option<H>,
    }
}

impl<B: Body, H> HeldBody<B, H> {
    /// Makes `body` keep `held` until it ends.
    pub fn new(body: B, held: H) -> Self {
        let held = (!body.is_end_stream()).then_some(held);
        Self { body, held }
    }
}

impl<B, H> HeldBody<B, H> {
    /// The body inside.
    pub fn get_ref(&self) -> &B {
        &self.body
    }

    /// The same body, holding what `f` makes of the value.
    pub(crate) fn map_held<T>(self, f: impl FnOnce(H) -> T) -> HeldBody<B, T> {
        HeldBody {
            body: self.body,
            held: self.held.map(f),
        }
    }
}

impl<B: Body, H> Body for HeldBody<B, H> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        if this.held.is_none() {
            return Poll::Ready(None);
        }
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            *this.held = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.held {
            Some(_) => self.body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B: fmt::Debug, H> fmt::Debug for HeldBody<B, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBody")
            .field("body", &self.body)
            .field("ended", &self.held.is_none())
            .finish()
    }
}
