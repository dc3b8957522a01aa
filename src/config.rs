use std::time::Duration;

use crate::error::Error;

/// As good as for ever, and no time that it is added to overflows.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// To be used for every time that is given from outside.
pub(crate) const fn bounded(time: Duration) -> Duration {
    if time.as_secs() < FOREVER.as_secs() {
        time
    } else {
        FOREVER
    }
}

/// How many connections and waiting requests a handle may have, and how long connections live.
///
/// The defaults are httpx's where nothing else is said. Change them while the handle runs with
/// [`Upstream::set_limits`](crate::Upstream::set_limits).
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::Limits;
///
/// let limits = Limits::new()
///     .max_connections(10)
///     .max_idle_connections(5)
///     .idle_timeout(Duration::from_secs(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    max_connections: usize,
    max_connections_per_origin: Option<usize>,
    max_idle_connections: Option<usize>,
    idle_timeout: Duration,
    max_connection_age: Option<Duration>,
    max_pending: usize,
    max_streams_per_connection: usize,
}

impl Limits {
    /// The defaults: 100 connections, 20 of them idle for at most 4 s, 1024 waiting requests.
    pub const fn new() -> Self {
        Self {
            max_connections: 100,
            max_connections_per_origin: None,
            max_idle_connections: None,
            idle_timeout: Duration::from_secs(4),
            max_connection_age: None,
            max_pending: 1024,
            max_streams_per_connection: 100,
        }
    }

    /// At most this many sockets at any instant, those still connecting or closing included.
    ///
    /// Defaults to 100. 0 is refused when the handle is built.
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// At most this many sockets to one origin, within `max_connections`.
    ///
    /// Defaults to none: an origin may use them all. 0 is refused when the handle is built.
    pub fn max_connections_per_origin(mut self, connections: impl Into<Option<usize>>) -> Self {
        self.max_connections_per_origin = connections.into();
        self
    }

    /// At most this many connections are kept open while nobody uses them; past it, the one that
    /// has been idle longest is closed. 0 keeps none.
    ///
    /// Defaults to the smaller of 20 and `max_connections`. More than `max_connections` is refused
    /// when the handle is built.
    pub const fn max_idle_connections(mut self, connections: usize) -> Self {
        self.max_idle_connections = Some(connections);
        self
    }

    /// A connection that nobody has used for this long is closed.
    ///
    /// Defaults to 4 s, since uvicorn's and Node's servers close theirs after 5 s.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = bounded(timeout);
        self
    }

    /// A connection older than this is not used again. It is closed once it is idle; an exchange
    /// that runs on it is never cut. Each connection's age is shortened by up to a tenth, at
    /// random, so that those opened together do not close together.
    ///
    /// Defaults to none.
    pub fn max_connection_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_connection_age = age.into().map(bounded);
        self
    }

    /// At most this many requests wait for a connection; one more is answered at once with
    /// [`ErrorKind::QueueFull`](crate::ErrorKind::QueueFull). 0 never waits: a request gets an idle
    /// connection, opens one, or fails.
    ///
    /// Defaults to 1024. A request for which a connection is being opened does not count.
    pub const fn max_pending(mut self, requests: usize) -> Self {
        self.max_pending = requests;
        self
    }

    /// At most this many exchanges at once on one HTTP/2 connection, and no more than the upstream
    /// allows. One more opens another connection, within the limits above.
    ///
    /// Defaults to 100. 0 is refused when the handle is built.
    pub const fn max_streams_per_connection(mut self, streams: usize) -> Self {
        self.max_streams_per_connection = streams;
        self
    }

    /// Refuses what could never work.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.max_connections == 0 {
            return Err(Error::config(
                "max_connections is 0, and no request could ever be sent: set it to at least 1",
            ));
        }
        if self.max_connections_per_origin == Some(0) {
            return Err(Error::config(
                "max_connections_per_origin is 0, and no request could ever be sent: \
                 set it to at least 1, or leave it out",
            ));
        }
        if self.max_streams_per_connection == 0 {
            return Err(Error::config(
                "max_streams_per_connection is 0, and no request could ever be sent over HTTP/2: \
                 set it to at least 1",
            ));
        }
        match self.max_idle_connections {
            Some(idle) if idle > self.max_connections => Err(Error::config(format!(
                "max_idle_connections is {idle}, more than max_connections, which is {}: \
                 set it to at most that",
                self.max_connections
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) const fn total(&self) -> usize {
        self.max_connections
    }

    pub(crate) fn per_origin(&self) -> usize {
        self.max_connections_per_origin.unwrap_or(usize::MAX)
    }

    pub(crate) fn idle(&self) -> usize {
        self.max_idle_connections
            .unwrap_or_else(|| self.max_connections.min(20))
    }

    pub(crate) const fn idle_for(&self) -> Duration {
        self.idle_timeout
    }

    pub(crate) const fn age(&self) -> Option<Duration> {
        self.max_connection_age
    }

    pub(crate) const fn streams(&self) -> usize {
        self.max_streams_per_connection
    }

    pub(crate) const fn pending(&self) -> usize {
        self.max_pending
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// How long each phase of an exchange may take. `None` waits for ever.
///
/// Each phase times out by its own name and only its own: a caller that reads slowly is not a
/// `read` timeout, and a request body that is produced slowly is neither a `write` nor a `read`
/// one.
///
/// A `Timeouts` in a request's extensions takes the place of the handle's for that request: all five, not
/// only those that were set.
///
/// ```
/// use std::time::Duration;
///
/// use http::Request;
/// use tower_upstream::Timeouts;
///
/// # fn main() -> Result<(), http::Error> {
/// // As httpx's `Timeout(5.0, read=15.0)`.
/// let timeouts = Timeouts::new(Duration::from_secs(5)).read(Duration::from_secs(15));
///
/// // One request that waits for its turn however long that takes.
/// let patient = timeouts.pool(None);
/// let request = Request::get("http://127.0.0.1:8000/")
///     .extension(patient)
///     .body(String::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Timeouts {
    pub(crate) pool: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) write: Option<Duration>,
    pub(crate) read: Option<Duration>,
    pub(crate) total: Option<Duration>,
}

impl Timeouts {
    /// The same for each of the four phases, and none for the whole.
    pub const fn new(each: Duration) -> Self {
        let each = bounded(each);
        Self {
            pool: Some(each),
            connect: Some(each),
            write: Some(each),
            read: Some(each),
            total: None,
        }
    }

    /// Waiting for a connection: until one is free or a new one is begun for this request. One
    /// deadline for the whole exchange, which a retry does not move. 0 succeeds if there is no need
    /// to wait.
    ///
    /// Defaults to 5 s.
    pub fn pool(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.pool = timeout.into().map(bounded);
        self
    }

    /// Looking the name up, connecting, the TLS handshake, and over HTTP/2 the upstream's settings,
    /// together; the name's addresses are tried in turn and share it.
    ///
    /// Defaults to 5 s.
    pub fn connect(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect = timeout.into().map(bounded);
        self
    }

    /// The longest time in which the upstream takes no byte of what there is to send.
    ///
    /// Defaults to 5 s.
    pub fn write(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.write = timeout.into().map(bounded);
        self
    }

    /// From the end of the request to the response's head, and then the longest time for which
    /// whoever reads the body waits for its next piece.
    ///
    /// Defaults to 5 s.
    pub fn read(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.read = timeout.into().map(bounded);
        self
    }

    /// The whole exchange, from the call to the end of the response's body, whether or not anybody
    /// reads that: a body that is held unread for so long loses its connection, or over HTTP/2 its
    /// stream, and fails when it is read again.
    ///
    /// Defaults to none.
    pub fn total(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.total = timeout.into().map(bounded);
        self
    }
}

impl Default for Timeouts {
    /// 5 s for each phase, and none for the whole.
    fn default() -> Self {
        Self::new(Duration::from_secs(5))
    }
}

/// What becomes of the rest of a body that is dropped before its end.
///
/// An HTTP/1.1 connection can only be used again once a response has been read whole (RFC 9112 §9.3), so
/// a rest within these bounds is read on in the background and the connection kept; past them it is
/// closed. Over HTTP/2 a rest past them has its stream reset, and the connection goes on.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::RemainderPolicy;
///
/// let policy = RemainderPolicy::new()
///     .max_bytes(256 * 1024)
///     .max_time(Duration::from_millis(20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct RemainderPolicy {
    pub(crate) max_bytes: u64,
    pub(crate) max_time: Duration,
}

impl RemainderPolicy {
    /// Reads on for at most 64 KiB and 50 ms.
    pub const fn new() -> Self {
        Self {
            max_bytes: 64 * 1024,
            max_time: Duration::from_millis(50),
        }
    }

    /// Reads nothing on: closes every HTTP/1.1 connection whose response was not read to its end, and
    /// over HTTP/2 resets the stream.
    pub const fn close() -> Self {
        Self::new().max_bytes(0)
    }

    /// The most bytes to read on. A rest whose length is known to be more is not read at all.
    ///
    /// Defaults to 64 KiB.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The longest time to read on.
    ///
    /// Defaults to 50 ms.
    pub const fn max_time(mut self, time: Duration) -> Self {
        self.max_time = bounded(time);
        self
    }
}

impl Default for RemainderPolicy {
    fn default() -> Self {
        Self::new()
    }
}
