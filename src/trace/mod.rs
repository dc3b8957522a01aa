//! What the crate tells while it works: by `tracing`, by `metrics`, and in a request's
//! [`Timing`].
//!
//! Beside these, [`Upstream::stats`](crate::Upstream::stats) counts without any feature. Each of the
//! features is off by default and costs nothing then. What is told never holds a path, a query, a
//! header or a credential, and every label of a metric has a bounded number of values.
//!
//! # Spans and events
//!
//! With the feature `tracing` every exchange has a span at `INFO`, from its start to the end of its
//! response's body, and everything else is an event at `DEBUG`, but for a drain, which is one at
//! `INFO`. All have the target `tower_upstream`. A failure is no event at `ERROR`: the caller gets the
//! error, and knows whether it matters.
//!
//! The span is named `request`, and its fields are [OpenTelemetry's] for HTTP clients:
//!
//! | field | |
//! |---|---|
//! | `http.request.method`, `server.address`, `server.port`, `url.scheme` | of the request; a method that RFC 9110 does not know is `_OTHER` |
//! | `http.response.status_code`, `network.protocol.version` | of the response: `200`, `1.1` or `2` |
//! | `error.type` | the [`ErrorKind`](ErrorKind::as_str), or the status where that is 400 or more |
//! | `otel.kind`, `otel.name`, `otel.status_code` | as `tracing-opentelemetry` reads them |
//!
//! Its events: `waiting for a connection`; `got a connection` with `reused`, `waited` and
//! `connected`; `response head`; and at its end `body ended`, `failed` with `error.type`, or
//! `left before its end` for a future or a body that was dropped.
//!
//! The pool's events belong to no span: `connecting`; `connected` with `took`; `connect failed`;
//! `connection closed` with its [`cause`](CloseCause) (evicted, expired, drained …) and
//! `open_for`. A drain ends in `drained` with `aborted` and `upgraded`.
//!
//! # Metrics
//!
//! With the feature `metrics` these go to the recorder that is installed when a handle's first request
//! to an origin is made. Durations are histograms in seconds. All have the labels `server.address`,
//! `server.port` and `url.scheme`, whose values are `_OTHER` for the origins after a handle's first
//! hundred.
//!
//! | metric | kind | further labels | |
//! |---|---|---|---|
//! | `http.client.open_connections` | gauge | `http.connection.state`: `idle`, `active` | an upgraded connection is active |
//! | `http.client.connection.duration` | histogram | `network.protocol.version` | recorded when a connection has closed |
//! | `http.client.active_requests` | gauge | `http.request.method` | until the end of the response's body |
//! | `http.client.request.duration` | histogram | `http.request.method`, `http.response.status_code`, `network.protocol.version`, `error.type` | to the end of the response's body; of a label that does not apply the value is empty; what was dropped before its head has the error `cancelled` |
//! | `http.client.request.time_in_queue` | histogram | | as [`Timing::waited`](Timing::waited), near zero where a connection was free |
//! | `tower_upstream.request.time_to_head` | histogram | | as [`Timing::head_after`](Timing::head_after) |
//! | `tower_upstream.waiting_requests` | gauge | | the queue |
//! | `tower_upstream.connect.duration` | histogram | | dials that succeeded |
//! | `tower_upstream.connect.failures` | counter | `error.type` | dials that failed |
//! | `tower_upstream.closed_connections` | counter | `cause` | by [`CloseCause`](CloseCause::as_str) |
//!
//! [OpenTelemetry's]: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span

use std::{fmt, sync::OnceLock, time::Duration};

use http::{Request, Response};
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
    stats::{CloseCause, Drained},
    timing::Timing,
};

#[cfg_attr(not(feature = "metrics"), path = "meters_off.rs")]
mod meters;
#[cfg_attr(not(feature = "tracing"), path = "spans_off.rs")]
mod spans;

/// In place of a value that is not one of a known few.
#[cfg(any(feature = "tracing", feature = "metrics"))]
const OTHER: &str = "_OTHER";

/// The methods that are told apart (RFC 9110 §9, RFC 5789), and what stands for the others.
#[cfg(any(feature = "tracing", feature = "metrics"))]
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", OTHER,
];

/// What a pool tells.
pub(crate) struct Observer {
    meters: meters::Meters,
}

/// What one exchange tells, from its start to the end of its response's body: its drop.
pub(crate) struct Exchange {
    timing: Option<Timing>,
    span: spans::Span,
    meter: meters::Request,
}

/// An exchange that asks for a connection, until it has one or gives up: its drop.
pub(crate) struct Asking<'a> {
    exchange: &'a Exchange,
    /// `None` when nobody wants to know.
    since: Option<Instant>,
    queued: Option<meters::Queued>,
}

/// What one connection tells.
#[derive(Debug)]
pub(crate) struct Connection {
    dialed_at: Instant,
    opened_at: OnceLock<Instant>,
    multiplexed: bool,
    meter: meters::Connection,
}

// === impl Observer ===

impl Observer {
    pub(crate) fn new() -> Self {
        Self {
            meters: meters::Meters::new(),
        }
    }

    pub(crate) fn exchange<B>(
        &self,
        request: &Request<B>,
        origin: &Origin,
        start: Instant,
    ) -> Exchange {
        let timing = request.extensions().get::<Timing>().cloned();
        if let Some(timing) = &timing {
            timing.start(start);
        }
        Exchange {
            timing,
            span: spans::Span::new(request.method(), origin),
            meter: self.meters.request(request.method(), origin, start),
        }
    }

    /// A connection whose dial began then.
    pub(crate) fn connection(
        &self,
        origin: &Origin,
        multiplexed: bool,
        dialed_at: Instant,
    ) -> Connection {
        Connection {
            dialed_at,
            opened_at: OnceLock::new(),
            multiplexed,
            meter: self.meters.connection(origin),
        }
    }

    pub(crate) fn connecting(&self, origin: &Origin) {
        spans::connecting(origin);
    }

    pub(crate) fn connect_failed(&self, error: &Error) {
        spans::connect_failed(error);
        self.meters.connect_failed(error);
    }

    pub(crate) fn drained(&self, drained: &Drained) {
        spans::drained(drained);
    }
}

// === impl Exchange ===

impl Exchange {
    /// It asks for a connection.
    #[inline]
    pub(crate) fn asks(&self) -> Asking<'_> {
        let watched = self.timing.is_some() || self.span.is_watched() || self.meter.is_watched();
        Asking {
            exchange: self,
            since: watched.then(Instant::now),
            queued: None,
        }
    }

    /// The head is here; it gets the timing, if that was asked for.
    pub(crate) fn head<B>(&mut self, response: &mut Response<B>) {
        let (status, version) = (response.status(), response.version());
        self.span.head(status, version);
        self.meter.head(status, version);
        if let Some(timing) = &self.timing {
            timing.head();
            response.extensions_mut().insert(timing.clone());
        }
    }

    pub(crate) fn failed(mut self, kind: ErrorKind) {
        self.span.failed(kind);
        self.meter.failed(kind);
    }

    /// The body has come to its end.
    pub(crate) fn complete(mut self) {
        self.span.complete();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(timing) = &self.timing {
            timing.end();
        }
    }
}

// === impl Asking ===

impl Asking<'_> {
    /// There is none free.
    pub(crate) fn queue(&mut self) {
        self.exchange.span.queued();
        self.queued = Some(self.exchange.meter.queued());
    }

    #[inline]
    pub(crate) fn got(mut self, connection: &Connection, reused: bool) {
        let Some(since) = self.since.take() else {
            return;
        };
        let waits_for_dial = !reused || connection.multiplexed;
        let connected = waits_for_dial.then(|| connection.opening_since(since));
        let connected = connected.flatten();
        let waited = self.end(since, connected.unwrap_or_default());
        self.exchange.span.acquired(reused, waited, connected);
        if let Some(timing) = &self.exchange.timing {
            timing.has_connection(reused, connected);
        }
    }

    /// It waits no longer; nor did it for as long as its connection was being opened.
    fn end(&self, since: Instant, connected: Duration) -> Duration {
        let waited = since.elapsed().saturating_sub(connected);
        self.exchange.meter.has_waited(waited);
        if let Some(timing) = &self.exchange.timing {
            timing.has_waited(waited);
        }
        waited
    }
}

impl Drop for Asking<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(since) = self.since {
            self.end(since, Duration::ZERO);
        }
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) fn opened(&self, origin: &Origin) {
        let took = self.dialed_at.elapsed();
        let _ = self.opened_at.set(self.dialed_at + took);
        spans::connected(origin, self.multiplexed, took);
        self.meter.opened(took);
    }

    /// An exchange has it.
    pub(crate) fn lend(&self) {
        self.meter.lend();
    }

    /// An exchange has it no more. One that was upgraded never comes back.
    pub(crate) fn give_back(&self) {
        self.meter.give_back();
    }

    /// Its socket is gone.
    pub(crate) fn closed(&self, origin: &Origin, cause: CloseCause) {
        let Some(opened_at) = self.opened_at.get() else {
            return;
        };
        let open_for = opened_at.elapsed();
        spans::closed(origin, cause, open_for);
        self.meter.closed(cause, self.multiplexed, open_for);
    }

    /// For how long after `since` it was being opened; `None` if it was open by then.
    fn opening_since(&self, since: Instant) -> Option<Duration> {
        let opened_at = *self.opened_at.get()?;
        let begun = self.dialed_at.max(since);
        opened_at.checked_duration_since(begun)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

/// The method's place in [`METHODS`]; the last one is that of all others.
#[cfg(any(feature = "tracing", feature = "metrics"))]
fn place(method: &http::Method) -> usize {
    let known = METHODS.iter().position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}

/// The host's name or address; OpenTelemetry has no brackets round an IPv6 one.
#[cfg(any(feature = "tracing", feature = "metrics"))]
fn address(origin: &Origin) -> &str {
    origin.host().trim_matches(['[', ']'])
}

#[cfg(any(feature = "tracing", feature = "metrics"))]
fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
