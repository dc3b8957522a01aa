use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use pin_project_lite::pin_project;

use crate::{
    error::BoxError,
    limit::{ErasedPermit, HeldBody},
    truncate::TruncateBody,
};

pin_project! {
    /// The response body of an [`UpstreamService`](crate::UpstreamService).
    ///
    /// It is the inner service's, cut if the layer says so, and keeps the request's place until it
    /// ends, fails or is dropped; or it is the text of a refusal. Errors are those of the body
    /// inside, boxed.
    pub struct UpstreamServiceBody<B> {
        #[pin]
        body: Either<Either<Held<B>, TruncateBody<Held<B>>>, Full<Bytes>>,
    }
}

pub(super) type Held<B> = HeldBody<B, Option<ErasedPermit>>;

impl<B> UpstreamServiceBody<B> {
    pub(super) fn whole(body: Held<B>) -> Self {
        Self {
            body: Either::Left(Either::Left(body)),
        }
    }

    pub(super) fn truncated(body: TruncateBody<Held<B>>) -> Self {
        Self {
            body: Either::Left(Either::Right(body)),
        }
    }

    pub(super) fn refused(body: Full<Bytes>) -> Self {
        Self {
            body: Either::Right(body),
        }
    }
}

impl<B> Body for UpstreamServiceBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for UpstreamServiceBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_refusal = matches!(self.body, Either::Right(_));
        f.debug_struct("UpstreamServiceBody")
            .field("is_refusal", &is_refusal)
            .finish_non_exhaustive()
    }
}
