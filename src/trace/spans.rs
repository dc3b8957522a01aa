//! With the feature `tracing`: a span for each exchange, and events.

use std::time::Duration;

use http::{Method, StatusCode, Version};
use tracing::{Level, debug, enabled, field::Empty, info, info_span};

use super::{METHODS, address, place, protocol};
use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
    stats::{CloseCause, Drained},
};

/// Of everything here, so that a filter needs no name of a private module.
const TARGET: &str = "tower_upstream";

/// The span of one exchange.
///
/// It is never entered: what happens in an exchange is told by this crate alone, and names the span
/// as its parent. So nothing is paid for when it is polled.
pub(super) struct Span {
    span: tracing::Span,
    /// An end other than its drop has been told.
    has_ended: bool,
}

impl Span {
    pub(super) fn new(method: &Method, origin: &Origin) -> Self {
        let method = METHODS[place(method)];
        let span = info_span!(
            target: TARGET,
            "request",
            otel.kind = "client",
            otel.name = method,
            otel.status_code = Empty,
            http.request.method = method,
            http.response.status_code = Empty,
            network.protocol.version = Empty,
            server.address = address(origin),
            server.port = origin.port(),
            url.scheme = origin.scheme(),
            "error.type" = Empty,
        );
        Self {
            span,
            has_ended: false,
        }
    }

    /// Whether it is worth while to look at the clock.
    pub(super) fn is_watched(&self) -> bool {
        enabled!(target: TARGET, Level::DEBUG)
    }

    pub(super) fn queued(&self) {
        debug!(target: TARGET, parent: &self.span, "waiting for a connection");
    }

    pub(super) fn acquired(&self, reused: bool, waited: Duration, connected: Option<Duration>) {
        let connected = connected.map(tracing::field::debug);
        debug!(target: TARGET, parent: &self.span, reused, ?waited, connected, "got a connection");
    }

    pub(super) fn head(&self, status: StatusCode, version: Version) {
        self.span
            .record("http.response.status_code", status.as_u16());
        self.span
            .record("network.protocol.version", protocol(version));
        if status.is_client_error() || status.is_server_error() {
            self.fail(status.as_str());
        }
        debug!(
            target: TARGET,
            parent: &self.span,
            { http.response.status_code = status.as_u16() },
            "response head"
        );
    }

    pub(super) fn failed(&mut self, kind: ErrorKind) {
        self.fail(kind.as_str());
        debug!(target: TARGET, parent: &self.span, { "error.type" = kind.as_str() }, "failed");
        self.has_ended = true;
    }

    pub(super) fn complete(&mut self) {
        debug!(target: TARGET, parent: &self.span, "body ended");
        self.has_ended = true;
    }

    fn fail(&self, kind: &str) {
        self.span.record("otel.status_code", "ERROR");
        self.span.record("error.type", kind);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if !self.has_ended {
            debug!(target: TARGET, parent: &self.span, "left before its end");
        }
    }
}

// A connection is the pool's. Whatever happens to be going on when it opens or closes has nothing to
// do with it: so its events are nobody's children.

pub(super) fn connecting(origin: &Origin) {
    debug!(
        target: TARGET,
        parent: None,
        {
            server.address = address(origin),
            server.port = origin.port(),
        },
        "connecting"
    );
}

pub(super) fn connected(origin: &Origin, multiplexed: bool, took: Duration) {
    debug!(
        target: TARGET,
        parent: None,
        {
            server.address = address(origin),
            server.port = origin.port(),
            network.protocol.version = if multiplexed { "2" } else { "1.1" },
            ?took,
        },
        "connected"
    );
}

pub(super) fn connect_failed(error: &Error) {
    let origin = error.origin();
    debug!(
        target: TARGET,
        parent: None,
        {
            server.address = origin.map(address),
            server.port = origin.map(Origin::port),
            "error.type" = error.kind().as_str(),
        },
        "connect failed"
    );
}

pub(super) fn closed(origin: &Origin, cause: CloseCause, open_for: Duration) {
    debug!(
        target: TARGET,
        parent: None,
        {
            server.address = address(origin),
            server.port = origin.port(),
            cause = cause.as_str(),
            ?open_for,
        },
        "connection closed"
    );
}

pub(super) fn drained(drained: &Drained) {
    info!(
        target: TARGET,
        aborted = drained.aborted,
        upgraded = drained.upgraded,
        "drained"
    );
}
