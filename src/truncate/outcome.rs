use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// Tells what became of a body, once it has ended.
///
/// Every response that was cut, or might have been, carries one in its extensions. It is a handle:
/// clone it before the body is handed on, and ask it afterwards. A response without one was not
/// touched (see [`Truncate`](crate::Truncate)) or has no content.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use tower_upstream::{Truncate, Truncation, TruncationOutcome};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut response = http::Response::new(Full::<Bytes>::from("naïve café"));
/// response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
///
/// let response = Truncate::chars(5).apply(response);
/// let truncation = response.extensions().get::<Truncation>().unwrap().clone();
/// assert_eq!(truncation.outcome(), TruncationOutcome::Pending);
///
/// assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "naïve");
/// let whole = Some(12);
/// assert_eq!(truncation.outcome(), TruncationOutcome::Cut { bytes: 6, original: whole });
/// # });
/// ```
#[derive(Clone, Default)]
pub struct Truncation {
    outcome: Arc<OnceLock<TruncationOutcome>>,
}

/// What became of a body: see [`Truncation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TruncationOutcome {
    /// The body has not ended, or was dropped before its end.
    Pending,
    /// The body ended within the limit.
    Complete {
        /// How many bytes were passed on.
        bytes: u64,
    },
    /// The body went on behind the limit.
    Cut {
        /// How many bytes were passed on.
        bytes: u64,
        /// How many bytes the whole body has, if that was known.
        original: Option<u64>,
    },
    /// As many units as the limit allows were passed on, and the body was let go before it was
    /// known whether it would have gone on.
    LimitReached {
        /// How many bytes were passed on.
        bytes: u64,
    },
    /// The body failed before its end and before the limit.
    Failed,
    /// The body could not be cut, and a refusal was sent in its place.
    Refused,
}

impl Truncation {
    /// What became of the body, as far as it is known now.
    #[must_use]
    pub fn outcome(&self) -> TruncationOutcome {
        let outcome = self.outcome.get().copied();
        outcome.unwrap_or(TruncationOutcome::Pending)
    }

    /// States the outcome. The first statement stands: a body has one end.
    pub(super) fn settle(&self, outcome: TruncationOutcome) {
        let _ = self.outcome.set(outcome);
    }
}

impl fmt::Debug for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Truncation").field(&self.outcome()).finish()
    }
}
