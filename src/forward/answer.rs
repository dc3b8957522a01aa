//! What the proxy answers in place of the upstream.

use http::StatusCode;
use http_body_util::LengthLimitError;

pub(super) use crate::answer::{Answer, Answering};
use crate::error::{Error, ErrorKind};

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
        ..Self::bad_request("the request has come back to this proxy")
    };

    /// To an `OPTIONS` that was to come no further: there is nothing to tell of a proxy.
    pub(super) const NO_OPTIONS: Self = Self {
        status: StatusCode::OK,
        grpc_code: 0,
        proxy_status: None,
        ..Self::bad_request("")
    };

    pub(super) const fn bad_request(words: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            grpc_code: 3,
            proxy_status: Some("http_request_error"),
            words,
            is_last: false,
        }
    }

    pub(super) fn of(error: &Error) -> Self {
        let mut answer = Self::from(error.kind());
        if is_too_long(error) {
            answer.status = StatusCode::PAYLOAD_TOO_LARGE;
        }
        answer
    }
}

/// Whether the request's body was longer than a limit in front of the proxy allows.
fn is_too_long(error: &Error) -> bool {
    let mut causes =
        std::iter::successors(std::error::Error::source(error), |&error| error.source());
    error.kind() == ErrorKind::RequestBody && causes.any(|error| error.is::<LengthLimitError>())
}
