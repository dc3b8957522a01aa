use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::{
    answer::{Answer, Answering},
    expect::Gated,
    trailers,
};
use crate::{error::Error, upstream::UpstreamBody};

/// The response body of a [`Forward`](crate::Forward): the upstream's as it streams in, or the words
/// of an answer in its place.
///
/// # Errors
///
/// Those of [`UpstreamBody`]. A server then ends the client's connection or stream, so that a body
/// that broke off does not pass for a whole one. Only for gRPC over HTTP/2 the failure becomes the
/// trailers.
pub struct ForwardBody {
    inner: Inner,
}

#[allow(
    clippy::large_enum_variant,
    reason = "most are the upstream's; it is as large as this with features that tell of it"
)]
enum Inner {
    Upstream {
        body: UpstreamBody,
        has_trailers: bool,
    },
    Answer(Full<Bytes>),
}

pin_project! {
    /// A request's body on its way to the upstream.
    pub(super) struct Upload<B> {
        #[pin]
        body: B,
        gated: Option<Gated>,
    }
}

// === impl ForwardBody ===

impl ForwardBody {
    pub(super) fn upstream(body: UpstreamBody, answering: Answering) -> Self {
        Self {
            inner: Inner::Upstream {
                body,
                has_trailers: answering.has_trailers(),
            },
        }
    }

    pub(super) fn answer(body: Full<Bytes>) -> Self {
        Self {
            inner: Inner::Answer(body),
        }
    }
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.inner {
            Inner::Upstream { body, has_trailers } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| match frame {
                    Ok(frame) => Ok(trailers::filter(frame)),
                    Err(error) if *has_trailers => {
                        let mut trailers = HeaderMap::new();
                        Answer::of(&error).put_into(&mut trailers);
                        Ok(Frame::trailers(trailers))
                    }
                    Err(error) => Err(error),
                }))
            }
            Inner::Answer(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Upstream { body, .. } => body.is_end_stream(),
            Inner::Answer(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            // Not how long it will be, should it break off.
            Inner::Upstream {
                body,
                has_trailers: true,
            } if !body.is_end_stream() => SizeHint::new(),
            Inner::Upstream { body, .. } => body.size_hint(),
            Inner::Answer(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for ForwardBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Upstream { body, .. } => f.debug_tuple("ForwardBody").field(body).finish(),
            Inner::Answer(body) => f.debug_tuple("ForwardBody").field(body).finish(),
        }
    }
}

// === impl Upload ===

impl<B> Upload<B> {
    pub(super) fn new(body: B, gated: Option<Gated>) -> Self {
        Self { body, gated }
    }
}

impl<B: Body> Body for Upload<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(gated) = this.gated {
            ready!(gated.poll_open(cx));
            *this.gated = None;
        }
        let frame = ready!(this.body.poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(trailers::filter)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Version, header::CONTENT_TYPE};

    use super::*;

    #[test]
    fn a_body_that_has_ended_is_said_to_be_empty_though_others_could_end_in_trailers() {
        let grpc = HeaderValue::from_static("application/grpc");
        let request = HeaderMap::from_iter([(CONTENT_TYPE, grpc)]);
        let answering = Answering::new(&request, Version::HTTP_2);
        assert!(answering.has_trailers());
        let body = ForwardBody::upstream(UpstreamBody::empty(), answering);
        assert_eq!(body.size_hint().exact(), Some(0));
    }
}
