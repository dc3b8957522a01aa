//! HTTP/2: how a request is shaped, and the task that drives a connection with all its streams.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt},
    stream::FuturesUnordered,
};
use http::{HeaderMap, HeaderName, Request, Uri, Version, header, uri::Authority};
use hyper::{client::conn::http2, rt::Executor};
use hyper_util::rt::TokioTimer;
use tokio::time::timeout_at;

use super::{
    Conn, Guard, Order, Parked, RequestBody, Work,
    clock::{Clock, Ring},
    io::SlotIo,
    sender::Sender,
};
use crate::{
    error::Error,
    pool::{ConnId, Pool},
    stats::CloseCause,
};

/// As many streams may have been reset and still be remembered: cutting bodies resets streams, and
/// h2 gives a connection up when an upstream goes on about more of them than it remembers.
const RESET_STREAMS: usize = 1000;

/// The largest window there is (RFC 9113 §6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// How HTTP/2 connections are set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http2Settings {
    /// How much of one response may be on its way before it is read.
    pub(crate) stream_window: u32,
    /// How often a connection with open streams, on which nothing comes, is pinged.
    pub(crate) ping_interval: Option<Duration>,
    /// How long the answer to a ping may take.
    pub(crate) ping_timeout: Duration,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            stream_window: 256 * 1024,
            ping_interval: None,
            ping_timeout: Duration::from_secs(20),
        }
    }
}

impl Http2Settings {
    /// Refuses what could never work.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let window = self.stream_window;
        if !(1..=MAX_WINDOW).contains(&window) {
            return Err(Error::config(format!(
                "http2_stream_window is {window}: it must be between 1 and {MAX_WINDOW}"
            )));
        }
        if self.ping_interval == Some(Duration::ZERO) {
            return Err(Error::config(
                "http2_keep_alive's interval is 0, which would ping without a pause: \
                 set a longer one, or leave it out",
            ));
        }
        Ok(())
    }
}

/// Makes a request one that HTTP/2 can carry (RFC 9113 §8.2.2, §8.3.1).
pub(super) fn shape(request: &mut Request<RequestBody>) {
    *request.version_mut() = Version::HTTP_2;
    strip_connection_headers(request.headers_mut());
    // What a `Host` header says is the authority's to say here.
    let Some(host) = request.headers_mut().remove(header::HOST) else {
        return;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return;
    };
    let mut parts = mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(authority);
    // The URI was absolute, and still has all its parts.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// hyper strips those that are well known; what `Connection` names besides is left to its caller.
fn strip_connection_headers(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter();
    let names: Vec<_> = named
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        // HTTP/2 has a use for it, which hyper minds (RFC 9113 §8.2.2).
        .filter(|name| name != header::TE)
        .collect();
    headers.remove(header::CONNECTION);
    for name in names {
        headers.remove(name);
    }
}

/// Does the handshake, and waits for the upstream's settings: from then on its limit is known, and
/// that it speaks HTTP/2 at all. Returns the future that drives the connection to its end, and how
/// many streams the upstream allows.
pub(super) async fn handshake(
    io: SlotIo,
    conn: &Arc<Conn>,
    pool: &Arc<Pool>,
    id: ConnId,
) -> Option<(impl Future<Output = ()> + use<>, usize)> {
    let settings = pool.http2_settings();
    let streams = u32::try_from(pool.limits().streams()).unwrap_or(u32::MAX);
    // Room for every stream's window: one that is not read must not hold up the others.
    let window = settings
        .stream_window
        .saturating_mul(streams)
        .min(MAX_WINDOW);
    let tasks = Tasks::default();
    let (sender, http) = http2::Builder::new(tasks.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(window)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_timeout)
        .handshake(io)
        .await
        .ok()?;
    conn.cell().sender = Some(Sender::Http2(sender));
    let mut driver = Driver {
        http: Some(http),
        running: FuturesUnordered::new(),
        tasks,
        streams: None,
        clock: Clock::default(),
        guard: Guard::new(conn, pool, id),
    };
    let streams = poll_fn(|cx| driver.poll_settings(cx)).await?;
    driver.streams = Some(streams);
    Some((driver, streams))
}

type Http = http2::Connection<SlotIo, RequestBody, Tasks>;

/// Polls the connection and all that hyper would spawn for it: with the driver everything ends, the
/// socket included, and a response costs no task.
struct Driver {
    /// `None` once it takes no more requests.
    http: Option<Http>,
    /// The connection's I/O, its streams, the rests that are read on, and other chores.
    running: FuturesUnordered<BoxFuture<'static, ()>>,
    tasks: Tasks,
    /// How many streams the upstream allows, as the pool was told.
    streams: Option<usize>,
    clock: Clock,
    /// Last, since it is dropped after the socket.
    guard: Guard,
}

/// hyper's executor: what it is given waits here for the driver.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.lock().push(future.boxed());
    }
}

impl Tasks {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// Polls everything until nothing is left to do now. Ready when the connection is over, with
    /// hyper's word on why.
    fn poll_http(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let mut result = Ok(());
        loop {
            if let Some(http) = &mut self.http
                && let Poll::Ready(end) = Pin::new(http).poll(cx)
            {
                result = end;
                self.http = None;
                // Streams that are open may go on, but no other is opened.
                self.guard.conn.drop_sender();
                self.guard.pool.retire(self.guard.id);
            }
            let new = mem::take(&mut *self.tasks.lock());
            let progress = !new.is_empty();
            self.running.extend(new);
            while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
            if self.http.is_none() && self.running.is_empty() {
                return Poll::Ready(result);
            }
            if !progress && self.tasks.lock().is_empty() {
                return Poll::Pending;
            }
        }
    }

    /// Ready once the upstream's first bytes are in, which are its settings, with how many streams it
    /// allows; or with nothing, when the connection ends before.
    fn poll_settings(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.poll_http(cx).is_ready() {
            return Poll::Ready(None);
        }
        match &self.http {
            Some(http) if self.guard.conn.has_answered() => {
                Poll::Ready(Some(http.current_max_send_streams()))
            }
            _ => Poll::Pending,
        }
    }

    /// Takes on what was left: each rest on its own, since they share nothing but the socket.
    fn tend(&mut self) {
        while let Some(work) = self.guard.conn.driver.next() {
            match work {
                Work::Finish(parked) => self.running.push(finish(parked).boxed()),
                Work::Run(chore) => self.running.push(chore),
                Work::CheckClock => self.clock.check(&self.guard.pool, self.guard.id),
            }
        }
    }

    fn tell_streams(&mut self) {
        let streams = self.http.as_ref().map(Http::current_max_send_streams);
        if let (Some(now), Some(before)) = (streams, self.streams)
            && now != before
        {
            self.streams = streams;
            self.guard.pool.set_capacity(self.guard.id, now);
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.guard.conn.driver.listen(cx.waker());
        loop {
            match this.guard.conn.current_order() {
                Order::Close if this.clock.start_closing() => this.guard.conn.drop_sender(),
                Order::Run | Order::Close => {}
                Order::Abort | Order::Drain => return Poll::Ready(()),
            }
            this.tend();
            if let Poll::Ready(result) = this.poll_http(cx) {
                if result.is_ok() {
                    this.guard.conn.cell().cause = CloseCause::Remote;
                }
                return Poll::Ready(());
            }
            this.tell_streams();
            let ring = this.clock.poll(cx, None, &this.guard.pool, this.guard.id);
            if ready!(ring) == Ring::Close {
                return Poll::Ready(());
            }
        }
    }
}

/// Reads a rest on, for as long as there is for it.
async fn finish(mut parked: Parked) {
    let until = parked.until;
    let reading = poll_fn(|cx| parked.poll_rest(cx));
    let clean = timeout_at(until, reading).await.unwrap_or(false);
    parked.end(clean);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_goes_no_further_but_te() {
        let request = Request::get("http://a.test/")
            .header("connection", "x-hop, te")
            .header("connection", "X-Other,, no name")
            .header("x-hop", "1")
            .header("x-hop", "2")
            .header("x-other", "3")
            .header("x-kept", "4")
            .header("te", "trailers");
        let mut request = request.body(RequestBody::default()).unwrap();
        shape(&mut request);
        let mut names: Vec<_> = request.headers().keys().collect();
        names.sort_by_key(|name| name.as_str());
        assert_eq!(names, ["te", "x-kept"]);
    }
}
