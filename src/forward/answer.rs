//! What is answered in place of the upstream.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header, request::Parts};
use http_body_util::{Full, LengthLimitError};

use crate::{
    error::{Error, ErrorKind},
    grpc::is_grpc,
    middleware::refuse::{RETRY_AFTER, TEXT},
};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A status for either kind of client, and the words that go with it: printable ASCII without `%`,
/// so that they are their own percent-encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    status: StatusCode,
    grpc_code: i32,
    /// The error type of RFC 9209 §2.3; none for an answer that is no failure.
    proxy_status: Option<&'static str>,
    words: Words,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Of(&'static str),
    OfKind(ErrorKind),
}

/// How this request's client is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answering {
    is_grpc: bool,
    version: Version,
}

impl Answer {
    /// Of a server without a method (RFC 9110 §9.1).
    pub(super) const NOT_IMPLEMENTED: Self = Self {
        status: StatusCode::NOT_IMPLEMENTED,
        grpc_code: 12,
        ..Self::bad_request("the method is not supported")
    };

    pub(super) const LOOP: Self = Self {
        status: StatusCode::BAD_GATEWAY,
        grpc_code: 10,
        proxy_status: Some("proxy_loop_detected"),
        words: Words::Of("the request has come back to this proxy"),
    };

    /// To an `OPTIONS` that was to come no further: there is nothing to tell of a proxy.
    pub(super) const NO_OPTIONS: Self = Self {
        status: StatusCode::OK,
        grpc_code: 0,
        proxy_status: None,
        words: Words::Of(""),
    };

    pub(super) const fn bad_request(words: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            grpc_code: 3,
            proxy_status: Some("http_request_error"),
            words: Words::Of(words),
        }
    }

    /// What a client is told of a failure: its kind, and nothing of the upstream.
    pub(super) fn of(error: &Error) -> Self {
        let kind = error.kind();
        Self {
            status: if is_too_long(error) {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                kind.status()
            },
            grpc_code: kind.grpc_code(),
            proxy_status: Some(kind.proxy_status()),
            words: Words::OfKind(kind),
        }
    }

    fn text(self) -> String {
        match self.words {
            Words::Of(text) => text.to_owned(),
            Words::OfKind(kind) => kind.to_string(),
        }
    }

    /// As gRPC's trailers: at the end of a body, or in a head that no body follows.
    pub(super) fn put_into(self, trailers: &mut HeaderMap) {
        trailers.insert("grpc-status", HeaderValue::from(self.grpc_code));
        if let Ok(text) = HeaderValue::try_from(self.text()) {
            trailers.insert("grpc-message", text);
        }
    }
}

/// Whether the request's body was longer than a limit in front of the proxy allows.
fn is_too_long(error: &Error) -> bool {
    let mut causes =
        std::iter::successors(std::error::Error::source(error), |&error| error.source());
    error.kind() == ErrorKind::RequestBody && causes.any(|error| error.is::<LengthLimitError>())
}

impl Answering {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            is_grpc: is_grpc(&parts.headers),
            version: parts.version,
        }
    }

    /// Whether a failure can still be told after the body, in trailers: not over HTTP/1.1, where it
    /// would look like success to a client that has not asked for them.
    pub(super) fn has_trailers(self) -> bool {
        self.is_grpc && self.version >= Version::HTTP_2
    }

    pub(super) fn response(self, answer: Answer, name: Option<&str>) -> Response<Full<Bytes>> {
        let mut response = if self.is_grpc {
            let mut response = Response::new(Full::default());
            response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
            answer.put_into(response.headers_mut());
            response
        } else {
            self.http(answer)
        };
        let proxy_status = name
            .zip(answer.proxy_status)
            .and_then(|(name, error)| format!("\"{name}\"; error={error}").try_into().ok());
        if let Some(value) = proxy_status {
            response.headers_mut().insert("proxy-status", value);
        }
        response
    }

    fn http(self, answer: Answer) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(answer.text()));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, TEXT);
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        let is_draining = answer.words == Words::OfKind(ErrorKind::Draining);
        if is_draining && self.version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
