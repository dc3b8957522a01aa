//! Without the feature `tracing`: nothing, at no cost.

use std::time::Duration;

use http::{Method, StatusCode, Version};

use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
    stats::{CloseCause, Drained},
};

pub(super) struct Span;

impl Span {
    pub(super) fn new(_: &Method, _: &Origin) -> Self {
        Self
    }

    pub(super) fn is_watched(&self) -> bool {
        false
    }

    pub(super) fn queued(&self) {}

    pub(super) fn acquired(&self, _: bool, _: Duration, _: Option<Duration>) {}

    pub(super) fn head(&self, _: StatusCode, _: Version) {}

    pub(super) fn failed(&mut self, _: ErrorKind) {}

    pub(super) fn complete(&mut self) {}
}

pub(super) fn connecting(_: &Origin) {}

pub(super) fn connected(_: &Origin, _: bool, _: Duration) {}

pub(super) fn connect_failed(_: &Error) {}

pub(super) fn closed(_: &Origin, _: CloseCause, _: Duration) {}

pub(super) fn drained(_: &Drained) {}
