//! What is answered to a request that is not admitted.

use http::StatusCode;

use crate::{answer::Answer, error::BoxError, limit::WaitTimeout};

/// The limit's error: either the wait for a place was too long, or there was none to wait for.
pub(super) fn refusal(error: &BoxError) -> Answer {
    Answer {
        status: StatusCode::SERVICE_UNAVAILABLE,
        // RESOURCE_EXHAUSTED, as tonic's own load shedding has it.
        grpc_code: 8,
        proxy_status: Some("connection_limit_reached"),
        words: if error.is::<WaitTimeout>() {
            "no place came free in time"
        } else {
            "too many requests are waiting"
        },
        is_last: false,
    }
}
