use futures_util::future::Either;
use http::{HeaderValue, Request, Response, header::HOST, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};

use super::{RequestBody, h1, h2};
use crate::origin::Origin;

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
    #[inline]
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

/// Undoes what [`Sender::send`] has changed in a request of this origin.
pub(super) fn restore(request: &mut Request<RequestBody>, origin: &Origin) {
    let shaped = std::mem::take(request.uri_mut()).into_parts();
    // Over HTTP/2 it is what the `Host` header said.
    let host = shaped.authority.filter(|own| own != origin.authority());
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    let path = shaped.path_and_query;
    *request.uri_mut() = origin.to_uri(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, host: Option<&str>) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::default());
        *request.uri_mut() = uri.parse().unwrap();
        let host = host.map(|host| (HOST, host.parse().unwrap()));
        request.headers_mut().extend(host);
        request
    }

    #[test]
    fn a_request_that_was_not_sent_can_be_sent_by_either_protocol() {
        let origin: Origin = "http://a.test:81".parse().unwrap();
        let by_h1 = |request: &mut _| h1::shape(request, &HeaderValue::from_static("a.test:81"));
        let by_h2 = |request: &mut _| h2::shape(request);
        let protocols = [&by_h1 as &dyn Fn(&mut Request<RequestBody>), &by_h2];
        let cases = [
            ("http://a.test:81/path?query", None),
            ("http://a.test:81/path?query", Some("b.test")),
            ("http://a.test:81", None),
            ("http://a.test:81?query", Some("b.test:8080")),
        ];
        for (uri, host) in cases {
            for first in protocols {
                for second in protocols {
                    let mut fresh = request(uri, host);
                    second(&mut fresh);
                    let mut again = request(uri, host);
                    first(&mut again);
                    restore(&mut again, &origin);
                    second(&mut again);
                    let shown = format!("{uri} for {host:?}");
                    assert_eq!(again.uri(), fresh.uri(), "{shown}");
                    assert_eq!(again.headers(), fresh.headers(), "{shown}");
                }
            }
        }
    }
}
