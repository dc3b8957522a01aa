use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Where an exchange's time went: asked for by putting one into the request's extensions, and found
/// in the response's.
///
/// It is a handle: keep a clone before the request is sent, and ask it at any time. So it also tells
/// of a request that failed, and of a body that has ended. It needs no feature, and costs an
/// exchange that does not ask for it nothing.
///
/// A part that is not over is `None`. What a retry or a redirect sends again with the same
/// extensions begins anew, so that it tells of the last try. The tries that
/// [`Upstream::send`](crate::Upstream::send) makes by itself are one exchange.
///
/// To time every request of a service, put a new one into each by `tower::ServiceBuilder::map_request`.
///
/// # Example
///
/// ```
/// # use axum::{Router, routing::get};
/// use http::Request;
/// use tower_upstream::{Timing, Upstream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let url = format!("http://{}/", listener.local_addr()?);
/// # let app = Router::new().route("/", get(|| async { "hello" }));
/// # tokio::spawn(async move { axum::serve(listener, app).await });
/// let upstream = Upstream::builder().build()?;
/// let timing = Timing::new();
/// let request = Request::get(url).extension(timing.clone()).body(String::new())?;
///
/// let response = upstream.send(request).await?;
/// assert!(response.extensions().get::<Timing>().is_some());
/// assert_eq!(timing.reused(), Some(false));
/// assert!(timing.connected() <= timing.head_after());
/// assert_eq!(timing.ended_after(), None, "nobody has read it yet");
///
/// response.into_body().text(1024).await?;
/// assert!(timing.ended_after() >= timing.head_after());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Timing {
    marks: Arc<Mutex<Marks>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    started: Option<Instant>,
    waited: Option<Duration>,
    connected: Option<Duration>,
    reused: Option<bool>,
    head_after: Option<Duration>,
    ended_after: Option<Duration>,
}

impl Timing {
    /// For one request, of which it knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the request waited for its turn, in the pool's queue: until it had a connection or
    /// gave up, without what [`connected`](Self::connected) says. Zero, or next to it, where a
    /// connection was free.
    ///
    /// Where no connection came about, the dials it waited for are in it.
    #[must_use]
    pub fn waited(&self) -> Option<Duration> {
        self.marks().waited
    }

    /// How long it waited while its connection was opened: name, TCP, TLS, and over HTTP/2 the
    /// settings. `None` where it was given one that was open.
    #[must_use]
    pub fn connected(&self) -> Option<Duration> {
        self.marks().connected
    }

    /// Whether its connection had served before.
    #[must_use]
    pub fn reused(&self) -> Option<bool> {
        self.marks().reused
    }

    /// The time from the start of the exchange to the response's head, as
    /// [`Leg::head_after`](crate::Leg::head_after) tells it for a leg.
    #[must_use]
    pub fn head_after(&self) -> Option<Duration> {
        self.marks().head_after
    }

    /// The time from the start of the exchange to its end: the body's last byte, an error, or the drop
    /// of the body or the future, whichever was first. What is read on behind a cut is not counted.
    #[must_use]
    pub fn ended_after(&self) -> Option<Duration> {
        self.marks().ended_after
    }

    pub(crate) fn start(&self, at: Instant) {
        *self.marks() = Marks {
            started: Some(at),
            ..Marks::default()
        };
    }

    /// A connection came, or none: a second try adds to the first.
    pub(crate) fn has_waited(&self, time: Duration) {
        let mut marks = self.marks();
        marks.waited = Some(marks.waited.unwrap_or_default() + time);
    }

    pub(crate) fn has_connection(&self, reused: bool, connected: Option<Duration>) {
        let mut marks = self.marks();
        (marks.reused, marks.connected) = (Some(reused), connected);
    }

    pub(crate) fn head(&self) {
        let mut marks = self.marks();
        marks.head_after = marks.since_start();
    }

    pub(crate) fn end(&self) {
        let mut marks = self.marks();
        marks.ended_after = marks.since_start();
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        // What it guards is whole after every statement.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    fn since_start(&self) -> Option<Duration> {
        self.started.map(|at| at.elapsed())
    }
}

impl fmt::Debug for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Marks {
            started: _,
            waited,
            connected,
            reused,
            head_after,
            ended_after,
        } = *self.marks();
        f.debug_struct("Timing")
            .field("waited", &waited)
            .field("connected", &connected)
            .field("reused", &reused)
            .field("head_after", &head_after)
            .field("ended_after", &ended_after)
            .finish()
    }
}
