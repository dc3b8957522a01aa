//! What became of one leg, and what that says about the whole.

use std::{error::Error as StdError, fmt};

use http::StatusCode;
use tower::{BoxError, load_shed::error::Overloaded};

use super::text::Text;
use crate::{
    error::{Error, ErrorKind},
    truncate::Undecodable,
};

/// One leg's answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) index: usize,
    /// Once the head is there.
    pub(super) status: Option<StatusCode>,
    pub(super) text: Text,
    pub(super) end: End,
}

/// How a leg ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// With all the upstream had to say.
    #[default]
    Whole,
    /// Where the user's limit is.
    Cut,
    /// Where its share of the output ended.
    Full,
    Failed(Failure),
}

/// Why a leg has no answer, or only half of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Kind(ErrorKind),
    /// An error that is not this crate's.
    Other,
    /// Another leg failed, and the gather was to fail fast.
    GivenUp,
    /// More requests were asked for than a gather may have.
    TooMany,
}

/// Why a leg was not sent.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Target(Error),
    TooMany,
}

#[derive(Debug)]
struct TooMany;

impl Report {
    /// Whether the leg has, so far, done what was asked: its head says so and nothing broke.
    pub(super) fn is_success(&self) -> bool {
        let is_failed = matches!(self.end, End::Failed(_));
        self.status.is_some_and(|status| status.is_success()) && !is_failed
    }

    /// What a gateway answers for this leg alone, if it failed.
    fn gateway_status(&self) -> StatusCode {
        let status = match (self.end, self.status) {
            (End::Failed(failure), _) => failure.status(),
            (_, status) => status.unwrap_or(StatusCode::BAD_GATEWAY),
        };
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => status,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

impl Failure {
    /// The failure behind an error that came in place of a head.
    pub(super) fn before_head(error: &(dyn StdError + 'static)) -> Self {
        let mut chain = std::iter::successors(Some(error), |&e| e.source());
        match Error::find(error) {
            Some(error) => Self::Kind(error.kind()),
            None if error.is::<TooMany>() => Self::TooMany,
            None if chain.any(<dyn StdError>::is::<Overloaded>) => Self::Kind(ErrorKind::QueueFull),
            None => Self::Other,
        }
    }

    /// The failure behind an error that came in a body.
    pub(super) fn in_body(error: &(dyn StdError + 'static)) -> Self {
        let kind = match Error::find(error) {
            Some(error) => error.kind(),
            None if Undecodable::is_in(error) => ErrorKind::Decode,
            None => ErrorKind::BodyIncomplete,
        };
        Self::Kind(kind)
    }

    /// For who reads the legs as they are.
    pub(super) fn error(self) -> BoxError {
        match self {
            Self::Kind(kind) => Error::new(kind).into(),
            other => other.text().into(),
        }
    }

    /// In plain words, with nothing that a client must not see.
    pub(super) fn text(self) -> String {
        match self {
            Self::Kind(kind) => kind.to_string(),
            Self::Other => "upstream request failed".into(),
            Self::GivenUp => "given up, since another request failed".into(),
            Self::TooMany => TooMany.to_string(),
        }
    }

    /// For machines: the error type of RFC 9209 where there is one.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.proxy_status(),
            Self::Other => "failed",
            Self::GivenUp => "given_up",
            Self::TooMany => "too_many",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Kind(kind) => kind.status(),
            Self::Other => StatusCode::BAD_GATEWAY,
            Self::GivenUp | Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Refusal {
    pub(super) fn error(&self) -> BoxError {
        match self {
            Self::Target(error) => error.clone().into(),
            Self::TooMany => TooMany.into(),
        }
    }
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not sent: too many requests at once")
    }
}

impl StdError for TooMany {}

/// Counts how the legs ended.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: usize,
    pub(super) failed: usize,
    worst: Option<StatusCode>,
}

impl Tally {
    pub(super) fn count(&mut self, report: &Report) {
        if report.is_success() {
            self.ok += 1;
            return;
        }
        self.failed += 1;
        let status = report.gateway_status();
        let is_given_up = report.end == End::Failed(Failure::GivenUp);
        if !is_given_up
            && self
                .worst
                .is_none_or(|worst| badness(status) > badness(worst))
        {
            self.worst = Some(status);
        }
    }

    /// The status of the whole when no leg succeeded.
    pub(super) fn worst(&self) -> StatusCode {
        self.worst.unwrap_or(StatusCode::OK)
    }
}

/// A timeout is worse than being busy, which passes; anything else is worse than both.
fn badness(status: StatusCode) -> u8 {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => 0,
        StatusCode::GATEWAY_TIMEOUT => 1,
        _ => 2,
    }
}
