//! Without the feature `metrics`: nothing, at no cost.

use std::time::Duration;

use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
    stats::CloseCause,
};

pub(super) struct Meters;

pub(super) struct Request;

#[derive(Debug)]
pub(super) struct Connection;

pub(super) struct Queued;

impl Meters {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) fn request(&self, _: &Method, _: &Origin, _: Instant) -> Request {
        Request
    }

    pub(super) fn connection(&self, _: &Origin) -> Connection {
        Connection
    }

    pub(super) fn connect_failed(&self, _: &Error) {}
}

impl Request {
    pub(super) fn is_watched(&self) -> bool {
        false
    }

    pub(super) fn queued(&self) -> Queued {
        Queued
    }

    pub(super) fn has_waited(&self, _: Duration) {}

    pub(super) fn head(&mut self, _: StatusCode, _: Version) {}

    pub(super) fn failed(&mut self, _: ErrorKind) {}
}

impl Connection {
    pub(super) fn opened(&self, _: Duration) {}

    pub(super) fn lend(&self) {}

    pub(super) fn give_back(&self) {}

    pub(super) fn closed(&self, _: CloseCause, _: bool, _: Duration) {}
}
