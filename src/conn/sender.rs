use futures_util::future::Either;
use http::{HeaderValue, Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};

use super::{RequestBody, h1, h2};

/// hyper's end of a connection on which requests are sent.
#[derive(Debug)]
pub(super) enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

/// How a request that was sent ends, as hyper tells it.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

impl Sender {
    /// Whether a request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(sender) => sender.is_ready(),
        }
    }

    /// Shapes the request as its protocol has it, and sends it. One that was provably not sent
    /// comes back in the error.
    pub(super) fn send(
        &mut self,
        mut request: Request<RequestBody>,
        host: &HeaderValue,
    ) -> impl Future<Output = Sent> + use<> {
        match self {
            Self::Http1(sender) => {
                h1::shape(&mut request, host);
                Either::Left(sender.try_send_request(request))
            }
            Self::Http2(sender) => {
                h2::shape(&mut request);
                Either::Right(sender.try_send_request(request))
            }
        }
    }
}
