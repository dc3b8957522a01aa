use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, UPGRADE},
};
use hyper::upgrade::OnUpgrade;

use super::{
    ForwardBody, Settings,
    answer::{Answer, Answering},
    hop,
    upgrade::Offer,
};
use crate::{
    error::{Error, ErrorKind, Phase},
    upstream::{ResponseFuture, UpstreamBody},
};

/// The future of a [`Forward`](crate::Forward)'s response.
///
/// Dropped before its end, as a server does when the client leaves, it drops the exchange with the
/// upstream: the connection is closed, or over HTTP/2 the stream reset, and a request half sent never
/// looks complete.
#[must_use = "futures do nothing unless polled"]
pub struct ForwardFuture {
    call: Result<ResponseFuture, Answer>,
    exchange: Exchange,
}

/// What is kept of a request until its response is here.
pub(super) struct Exchange {
    pub(super) settings: Arc<Settings>,
    pub(super) answering: Answering,
    pub(super) offer: Option<Offer>,
}

impl ForwardFuture {
    pub(super) fn new(call: Result<ResponseFuture, Answer>, exchange: Exchange) -> Self {
        Self { call, exchange }
    }
}

impl Future for ForwardFuture {
    type Output = Result<Response<ForwardBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { call, exchange } = &mut *self;
        let response = match call {
            Err(answer) => exchange.answer(*answer),
            Ok(call) => ready!(Pin::new(call).poll(cx))
                .and_then(|response| exchange.pass_on(response))
                .unwrap_or_else(|error| exchange.fail(error)),
        };
        Poll::Ready(Ok(response))
    }
}

impl fmt::Debug for ForwardFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardFuture").finish_non_exhaustive()
    }
}

// === impl Exchange ===

impl Exchange {
    /// The upstream's response, as one of ours.
    fn pass_on(
        &mut self,
        mut response: Response<UpstreamBody>,
    ) -> Result<Response<ForwardBody>, Error> {
        let protocol = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            Some(self.upgrade(&mut response).ok_or_else(|| self.unasked())?)
        } else {
            None
        };
        let (mut head, body) = response.into_parts();
        hop::strip(&mut head.headers);
        if let Some(protocol) = protocol {
            let upgrade = HeaderValue::from_static("upgrade");
            head.headers.insert(CONNECTION, upgrade);
            head.headers.insert(UPGRADE, protocol);
        }
        if self.answering.has_trailers() {
            // Trailers may take the place of the rest, and then it would not be true.
            head.headers.remove(CONTENT_LENGTH);
        }
        self.settings.via.add(&mut head.headers, head.version);
        // The client has a version of its own with this server.
        head.version = Version::HTTP_11;
        let body = ForwardBody::upstream(body, self.answering);
        Ok(Response::from_parts(head, body))
    }

    /// Opens the tunnel, and says what it speaks. `None` if nobody asked for that.
    fn upgrade(&mut self, response: &mut Response<UpstreamBody>) -> Option<HeaderValue> {
        let offer = self.offer.take()?;
        let protocol = offer.accepted(response.headers())?;
        let upstream = response.extensions_mut().remove::<OnUpgrade>()?;
        tokio::spawn(offer.tunnel(upstream, self.settings.tunnel_idle_timeout));
        Some(protocol)
    }

    fn unasked(&self) -> Error {
        Error::new(ErrorKind::Protocol)
            .with_detail("it has changed to a protocol that was not offered")
            .with_phase(Phase::Read)
            .with_origin(&self.settings.origin)
            .sent()
    }

    fn fail(&self, error: Error) -> Response<ForwardBody> {
        let mut response = self.answer(Answer::of(&error));
        response.extensions_mut().insert(error);
        response
    }

    fn answer(&self, answer: Answer) -> Response<ForwardBody> {
        let name = self
            .settings
            .proxy_status
            .then_some(self.settings.via.name());
        self.answering
            .response(answer, name)
            .map(ForwardBody::answer)
    }
}
