//! What is answered in place of the service.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::{error::BoxError, grpc::is_grpc, limit::WaitTimeout};

/// In seconds: what is refused is short of room, which requests under way will leave soon.
pub(crate) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// gRPC's RESOURCE_EXHAUSTED, as tonic's own load shedding has it.
const GRPC_CODE: HeaderValue = HeaderValue::from_static("8");

/// Why a request was not admitted, in words for its client: printable ASCII without `%`, so that it
/// is its own percent-encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(&'static str);

/// Which answer a request understands.
#[derive(Clone, Debug)]
pub(super) struct Refuse {
    is_grpc: bool,
    proxy_status: Option<HeaderValue>,
}

// === impl Refusal ===

impl Refusal {
    const FULL: Self = Self("too many requests are waiting");
    const TIMEOUT: Self = Self("no place came free in time");

    /// The limit's error: either the wait for a place was too long, or there was none to wait for.
    pub(super) fn of(error: &BoxError) -> Self {
        if error.is::<WaitTimeout>() {
            Self::TIMEOUT
        } else {
            Self::FULL
        }
    }
}

// === impl Refuse ===

impl Refuse {
    pub(super) fn new(request: &HeaderMap, proxy_status: Option<HeaderValue>) -> Self {
        Self {
            is_grpc: is_grpc(request),
            proxy_status,
        }
    }

    pub(super) fn response(&self, refusal: Refusal) -> Response<Full<Bytes>> {
        let mut response = if self.is_grpc {
            grpc(refusal)
        } else {
            http(refusal)
        };
        if let Some(status) = &self.proxy_status {
            response
                .headers_mut()
                .insert("proxy-status", status.clone());
        }
        response
    }
}

fn http(Refusal(text): Refusal) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, TEXT);
    headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

/// A response of trailers only, which stand in its head.
fn grpc(Refusal(text): Refusal) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC);
    headers.insert("grpc-status", GRPC_CODE);
    headers.insert("grpc-message", HeaderValue::from_static(text));
    response
}

/// A `Proxy-Status` that tells of a refusal by the server `name`, which becomes a string of RFC 9651
/// §3.3.3.
pub(super) fn proxy_status(name: &str) -> Option<HeaderValue> {
    let mut quoted = String::new();
    for char in name.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            ' '..='~' => quoted.push(char),
            _ => quoted.push('_'),
        }
    }
    format!("\"{quoted}\"; error=connection_limit_reached")
        .try_into()
        .ok()
}
