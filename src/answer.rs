//! What is answered in place of a service or an upstream: one answer, for either kind of client.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body_util::Full;

use crate::{error::ErrorKind, grpc::is_grpc};

/// In seconds: what is refused is short of room, which requests under way will leave soon.
pub(crate) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A status for either kind of client, and the words that go with it: printable ASCII without `%`,
/// so that they are their own percent-encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) grpc_code: i32,
    /// The error type of RFC 9209 §2.3; none for an answer that is no failure.
    pub(crate) proxy_status: Option<&'static str>,
    pub(crate) words: &'static str,
    /// There is nothing more to be had on this connection.
    pub(crate) is_last: bool,
}

/// How a request's client is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answering {
    is_grpc: bool,
    version: Version,
}

// === impl Answer ===

/// What a client is told of a failure: its kind, and nothing of the upstream.
impl From<ErrorKind> for Answer {
    fn from(kind: ErrorKind) -> Self {
        Self {
            status: kind.status(),
            grpc_code: kind.grpc_code(),
            proxy_status: Some(kind.proxy_status()),
            words: kind.text(),
            is_last: kind == ErrorKind::Draining,
        }
    }
}

impl Answer {
    /// As plain text.
    pub(crate) fn http(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.words));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, TEXT);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }

    /// As trailers only, which stand in a head that no body follows.
    fn grpc(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
        self.put_into(response.headers_mut());
        response
    }

    /// As gRPC's trailers.
    pub(crate) fn put_into(self, trailers: &mut HeaderMap) {
        trailers.insert("grpc-status", HeaderValue::from(self.grpc_code));
        if let Ok(text) = HeaderValue::from_str(self.words) {
            trailers.insert("grpc-message", text);
        }
    }

    /// The value of a `Proxy-Status` field, in which `name` is a string of RFC 9651 §3.3.3.
    fn proxy_status(self, name: &str) -> Option<HeaderValue> {
        let error = self.proxy_status?;
        let mut quoted = String::new();
        for char in name.chars() {
            match char {
                '"' | '\\' => quoted.extend(['\\', char]),
                ' '..='~' => quoted.push(char),
                _ => quoted.push('_'),
            }
        }
        format!("\"{quoted}\"; error={error}").try_into().ok()
    }
}

// === impl Answering ===

impl Answering {
    pub(crate) fn new(request: &HeaderMap, version: Version) -> Self {
        Self {
            is_grpc: is_grpc(request),
            version,
        }
    }

    /// Whether a failure can still be told after the body, in trailers: not over HTTP/1.1, where it
    /// would look like success to a client that has not asked for them.
    pub(crate) fn has_trailers(self) -> bool {
        self.is_grpc && self.version >= Version::HTTP_2
    }

    /// The response; with a `Proxy-Status` where the server has a name for it.
    pub(crate) fn response(self, answer: Answer, name: Option<&str>) -> Response<Full<Bytes>> {
        let mut response = if self.is_grpc {
            answer.grpc()
        } else {
            answer.http()
        };
        let headers = response.headers_mut();
        if answer.is_last && self.version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(value) = name.and_then(|name| answer.proxy_status(name)) {
            headers.insert("proxy-status", value);
        }
        response
    }
}
