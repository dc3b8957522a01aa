//! With the feature `metrics`: gauges, counters and histograms.
//!
//! What is recorded for every request has its handle made once: per origin and, where a label says
//! how the request ended, once for each such end. What is rare is looked up when it happens.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode, Version};
use metrics::{
    Gauge, Histogram, Label, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use tokio::time::Instant;

use super::{METHODS, OTHER, address, place, protocol};
use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
    stats::CloseCause,
};

/// Requests may go to whatever a user asks for; the labels must stay bounded nevertheless. Those past
/// the first so many share one set.
const MAX_ORIGINS: usize = 100;

const OPEN_CONNECTIONS: &str = "http.client.open_connections";
const CONNECTION_DURATION: &str = "http.client.connection.duration";
const ACTIVE_REQUESTS: &str = "http.client.active_requests";
const TIME_IN_QUEUE: &str = "http.client.request.time_in_queue";
const REQUEST_DURATION: &str = "http.client.request.duration";
const TIME_TO_HEAD: &str = "tower_upstream.request.time_to_head";
const WAITING_REQUESTS: &str = "tower_upstream.waiting_requests";
const CONNECT_DURATION: &str = "tower_upstream.connect.duration";
const CONNECT_FAILURES: &str = "tower_upstream.connect.failures";
const CLOSED_CONNECTIONS: &str = "tower_upstream.closed_connections";

/// One pool's.
#[derive(Default)]
pub(super) struct Meters {
    sites: Mutex<HashMap<Origin, Arc<Site>>>,
    others: OnceLock<Arc<Site>>,
}

/// The handles of one origin.
#[derive(Debug)]
struct Site {
    /// What every metric says of it.
    labels: [Label; 3],
    idle: Gauge,
    active: Gauge,
    waiting: Gauge,
    time_in_queue: Histogram,
    time_to_head: Histogram,
    connect_duration: Histogram,
    /// By the method's place in [`METHODS`].
    requests: [OnceLock<Gauge>; METHODS.len()],
    durations: Mutex<HashMap<Outcome, Histogram>>,
}

/// What the labels say of a request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Outcome {
    /// Its place in [`METHODS`].
    method: usize,
    head: Option<(StatusCode, Version)>,
    error: Option<ErrorKind>,
}

/// A request from its start to the end of its response's body.
pub(super) struct Request {
    site: Arc<Site>,
    started: Instant,
    outcome: Outcome,
}

/// A request in the queue.
pub(super) struct Queued(Gauge);

/// A connection: how many use it, and in the highest bit whether it is open.
#[derive(Debug)]
pub(super) struct Connection {
    site: Arc<Site>,
    users: AtomicUsize,
}

const OPEN: usize = 1 << (usize::BITS - 1);

// === impl Meters ===

impl Meters {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn request(&self, method: &Method, origin: &Origin, started: Instant) -> Request {
        let site = self.site(origin);
        let outcome = Outcome {
            method: place(method),
            head: None,
            error: None,
        };
        site.requests(outcome.method).increment(1);
        Request {
            site,
            started,
            outcome,
        }
    }

    pub(super) fn connection(&self, origin: &Origin) -> Connection {
        Connection {
            site: self.site(origin),
            users: AtomicUsize::new(0),
        }
    }

    pub(super) fn connect_failed(&self, error: &Error) {
        if let Some(origin) = error.origin() {
            let kind = Label::new("error.type", error.kind().as_str());
            counter!(CONNECT_FAILURES, self.site(origin).labels_and([kind])).increment(1);
        }
    }

    fn site(&self, origin: &Origin) -> Arc<Site> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = sites.get(origin) {
            return site.clone();
        }
        if sites.is_empty() {
            describe();
        }
        if sites.len() == MAX_ORIGINS {
            let others = || Arc::new(Site::new([OTHER; 3].map(str::to_owned)));
            return self.others.get_or_init(others).clone();
        }
        let (address, port) = (address(origin).to_owned(), origin.port().to_string());
        let site = Arc::new(Site::new([address, port, origin.scheme().to_owned()]));
        sites.insert(origin.compact(), site.clone());
        site
    }
}

fn describe() {
    use Unit::{Count, Seconds};
    describe_gauge!(OPEN_CONNECTIONS, Count, "Open connections, idle or active");
    describe_histogram!(
        CONNECTION_DURATION,
        Seconds,
        "How long connections were open"
    );
    describe_gauge!(
        ACTIVE_REQUESTS,
        Count,
        "Requests whose response has not ended"
    );
    describe_histogram!(
        TIME_IN_QUEUE,
        Seconds,
        "How long requests waited for a connection, its dial left aside"
    );
    describe_histogram!(
        REQUEST_DURATION,
        Seconds,
        "From the start of a request to the end of its response's body"
    );
    describe_histogram!(
        TIME_TO_HEAD,
        Seconds,
        "From the start of a request to its response's head"
    );
    describe_gauge!(
        WAITING_REQUESTS,
        Count,
        "Requests that wait for a connection"
    );
    describe_histogram!(
        CONNECT_DURATION,
        Seconds,
        "How long connections took to open"
    );
    describe_counter!(CONNECT_FAILURES, Count, "Dials that failed");
    describe_counter!(CLOSED_CONNECTIONS, Count, "Connections closed, by cause");
}

// === impl Site ===

impl Site {
    fn new([address, port, scheme]: [String; 3]) -> Self {
        let labels = [
            Label::new("server.address", address),
            Label::new("server.port", port),
            Label::new("url.scheme", scheme),
        ];
        let state = |state| with(&labels, [Label::new("http.connection.state", state)]);
        Self {
            idle: gauge!(OPEN_CONNECTIONS, state("idle")),
            active: gauge!(OPEN_CONNECTIONS, state("active")),
            waiting: gauge!(WAITING_REQUESTS, labels.to_vec()),
            time_in_queue: histogram!(TIME_IN_QUEUE, labels.to_vec()),
            time_to_head: histogram!(TIME_TO_HEAD, labels.to_vec()),
            connect_duration: histogram!(CONNECT_DURATION, labels.to_vec()),
            requests: [const { OnceLock::new() }; METHODS.len()],
            durations: Mutex::default(),
            labels,
        }
    }

    fn labels_and<const N: usize>(&self, more: [Label; N]) -> Vec<Label> {
        with(&self.labels, more)
    }

    fn requests(&self, method: usize) -> &Gauge {
        self.requests[method].get_or_init(|| {
            let method = Label::new("http.request.method", METHODS[method]);
            gauge!(ACTIVE_REQUESTS, self.labels_and([method]))
        })
    }

    fn duration(&self, outcome: Outcome) -> Histogram {
        let mut durations = self
            .durations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let new = || histogram!(REQUEST_DURATION, self.labels_and(outcome.labels()));
        durations.entry(outcome).or_insert_with(new).clone()
    }
}

fn with<const N: usize>(labels: &[Label], more: [Label; N]) -> Vec<Label> {
    labels.iter().cloned().chain(more).collect()
}

// === impl Request ===

impl Outcome {
    /// All of them for every outcome, so that each of the metric's series has the same labels.
    fn labels(self) -> [Label; 4] {
        let failing = |status: &StatusCode| status.is_client_error() || status.is_server_error();
        let (status, version) = self.head.unzip();
        let code = status.as_ref().map_or("", StatusCode::as_str).to_owned();
        let error = match (self.error, &status) {
            (Some(kind), _) => kind.as_str().to_owned(),
            (None, None) => "cancelled".to_owned(),
            // What OpenTelemetry has for a response that says that it is an error.
            (None, Some(status)) if failing(status) => code.clone(),
            (None, Some(_)) => String::new(),
        };
        [
            Label::new("http.request.method", METHODS[self.method]),
            Label::new("http.response.status_code", code),
            Label::new("network.protocol.version", version.map_or("", protocol)),
            Label::new("error.type", error),
        ]
    }
}

impl Request {
    pub(super) fn is_watched(&self) -> bool {
        true
    }

    pub(super) fn queued(&self) -> Queued {
        self.site.waiting.increment(1);
        Queued(self.site.waiting.clone())
    }

    pub(super) fn has_waited(&self, time: Duration) {
        self.site.time_in_queue.record(time);
    }

    pub(super) fn head(&mut self, status: StatusCode, version: Version) {
        self.site.time_to_head.record(self.started.elapsed());
        self.outcome.head = Some((status, version));
    }

    pub(super) fn failed(&mut self, kind: ErrorKind) {
        self.outcome.error = Some(kind);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.site.requests(self.outcome.method).decrement(1);
        let duration = self.site.duration(self.outcome);
        duration.record(self.started.elapsed());
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn opened(&self, took: Duration) {
        self.site.connect_duration.record(took);
        let before = self.users.fetch_or(OPEN, Ordering::AcqRel);
        self.count(before, before | OPEN);
    }

    pub(super) fn lend(&self) {
        let before = self.users.fetch_add(1, Ordering::AcqRel);
        self.count(before, before + 1);
    }

    pub(super) fn give_back(&self) {
        let before = self.users.fetch_sub(1, Ordering::AcqRel);
        self.count(before, before - 1);
    }

    pub(super) fn closed(&self, cause: CloseCause, multiplexed: bool, open_for: Duration) {
        let before = self.users.fetch_and(!OPEN, Ordering::AcqRel);
        self.count(before, before & !OPEN);
        let cause = Label::new("cause", cause.as_str());
        counter!(CLOSED_CONNECTIONS, self.site.labels_and([cause])).increment(1);
        let version = if multiplexed { "2" } else { "1.1" };
        let version = Label::new("network.protocol.version", version);
        histogram!(CONNECTION_DURATION, self.site.labels_and([version])).record(open_for);
    }

    /// Moves it from one gauge to the other. Each step is between two neighbours of one order, so
    /// that the gauges are right in sum whatever order the threads come in.
    fn count(&self, before: usize, after: usize) {
        let (before, after) = (self.state(before), self.state(after));
        if before.map(|(state, _)| state) != after.map(|(state, _)| state) {
            if let Some((_, gauge)) = before {
                gauge.decrement(1);
            }
            if let Some((_, gauge)) = after {
                gauge.increment(1);
            }
        }
    }

    /// Whether it is in use, and the gauge that counts it; `None` while it is not open.
    fn state(&self, users: usize) -> Option<(bool, &Gauge)> {
        match users {
            OPEN => Some((false, &self.site.idle)),
            users if users & OPEN != 0 => Some((true, &self.site.active)),
            _ => None,
        }
    }
}
