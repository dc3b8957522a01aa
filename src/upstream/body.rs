use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    failure,
    head::Late,
    total::{Deadline, Watched},
};
use crate::{
    conn::ReadTimer,
    error::{Error, ErrorKind},
    pool::Lease,
    trace,
};

/// A response's body as it streams in.
///
/// It holds its connection until it ends, fails or is dropped, whichever is first. Dropped before
/// its end, it leaves the rest to [`RemainderPolicy`](crate::RemainderPolicy): a small one is read
/// on in the background, so that the connection is kept.
///
/// The `read` timeout runs while whoever polls it waits for the upstream, and never while nobody
/// does. After its end or an error it is empty.
///
/// [`bytes`](Self::bytes) and [`text`](Self::text) read it whole; `http_body_util::BodyExt` reads it
/// piece by piece. axum takes a `Response<UpstreamBody>` as a handler's answer, which passes it on as
/// it streams; [`Forward`](crate::Forward) also takes off the fields that concern one connection only.
///
/// ```
/// use http_body_util::BodyExt;
/// use tower_upstream::{Error, UpstreamBody};
///
/// /// How long a body is, of which no more than a piece is in memory.
/// async fn length(mut body: UpstreamBody) -> Result<usize, Error> {
///     let mut length = 0;
///     while let Some(frame) = body.frame().await {
///         if let Ok(data) = frame?.into_data() {
///             length += data.len();
///         }
///     }
///     Ok(length)
/// }
/// # use axum::{Router, routing::get};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let url = format!("http://{}/", listener.local_addr()?);
/// # let app = Router::new().route("/", get(|| async { "hello" }));
/// # tokio::spawn(async move { axum::serve(listener, app).await });
/// # let upstream = tower_upstream::Upstream::builder().build()?;
/// # assert_eq!(length(upstream.get(url).await?.into_body()).await?, 5);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ErrorKind::ReadTimeout`], [`ErrorKind::BodyIncomplete`] or, with such a timeout,
/// [`ErrorKind::TotalTimeout`]; and [`ErrorKind::Draining`] where a drain's deadline cut it short.
pub struct UpstreamBody {
    state: State,
}

enum State {
    Own(Option<Open>),
    /// Under a deadline that also runs while nobody polls.
    Watched(Watched),
}

/// A body that has not ended; it is taken out of its place when it has.
pub(super) struct Open {
    body: Incoming,
    lease: Lease,
    timer: ReadTimer,
    framing: Framing,
    /// Once its head has been told.
    pub(super) trace: Option<trace::Exchange>,
}

/// What is known, once the head is here, about how the body ends.
#[derive(Clone, Copy)]
pub(super) struct Framing {
    /// Whether reading the rest would leave a connection that can be used again.
    pub(super) reusable: bool,
    /// By its status it has no content, whatever comes.
    pub(super) bodiless: bool,
    /// The request had no body that could still be on its way.
    pub(super) request_is_out: bool,
}

impl UpstreamBody {
    #[inline]
    pub(super) fn new(open: Open, deadline: Option<Deadline>) -> Self {
        let mut open = Some(open);
        complete_at_end(&mut open);
        let state = match (open, deadline) {
            (Some(open), Some(deadline)) => State::Watched(Watched::new(open, deadline)),
            (open, _) => State::Own(open),
        };
        Self { state }
    }

    pub(crate) fn empty() -> Self {
        Self {
            state: State::Own(None),
        }
    }

    /// Has its end told: at once, if there is nothing to come.
    #[inline]
    pub(super) fn trace(&mut self, trace: trace::Exchange) {
        match &mut self.state {
            State::Own(Some(open)) => open.trace = Some(trace),
            State::Own(None) => trace.complete(),
            State::Watched(watched) => watched.trace(trace),
        }
    }

    /// Reads the whole body, of at most `max` bytes. Trailers are left aside.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BodyTooLarge`] as soon as it is longer, and whatever befalls the body itself.
    pub async fn bytes(mut self, max: usize) -> Result<Bytes, Error> {
        let too_large = |origin| {
            let error = Error::new(ErrorKind::BodyTooLarge)
                .with_detail(format!("more than {max} bytes"))
                .sent();
            match origin {
                Some(origin) => error.with_origin(&origin),
                None => error,
            }
        };
        let origin = self.with_open(|open| Some(open?.lease.conn().origin().clone()));
        if self.size_hint().lower() > max as u64 {
            return Err(too_large(origin));
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if first.len() + all.len() + data.len() > max {
                return Err(too_large(origin));
            }
            // A body of one piece, as most are, is passed on as it came.
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// Reads the whole body, of at most `max` bytes, as UTF-8. What is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes).
    pub async fn text(self, max: usize) -> Result<String, Error> {
        let bytes = self.bytes(max).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn with_open<R>(&self, look: impl FnOnce(Option<&Open>) -> R) -> R {
        match &self.state {
            State::Own(open) => look(open.as_ref()),
            State::Watched(watched) => watched.with_open(look),
        }
    }
}

impl Open {
    #[inline]
    pub(super) fn new(body: Incoming, lease: Lease, timer: ReadTimer, framing: Framing) -> Self {
        Self {
            body,
            lease,
            timer,
            framing,
            trace: None,
        }
    }

    /// It has failed, and its connection with it; over HTTP/2, its stream.
    pub(super) fn fail(self, kind: ErrorKind) {
        if let Some(trace) = self.trace {
            trace.failed(kind);
        }
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether a frame has content where there is none. HTTP/1.1 cannot even say it.
    fn is_surplus(&self, frame: &Frame<Bytes>) -> bool {
        self.framing.bodiless && frame.data_ref().is_some_and(|data| !data.is_empty())
    }

    /// Whether what hyper takes for the end is none. A stream that is reset without an error has had
    /// its whole response only if that was to stop the request (RFC 9113 §8.1).
    fn is_cut_short(&self) -> bool {
        let is_reset = self.lease.conn().is_multiplexed() && !self.body.is_end_stream();
        let is_short = self.body.size_hint().lower() > 0;
        is_reset && (self.framing.request_is_out || is_short)
    }

    /// The rest is not wanted.
    pub(super) fn leave(self) {
        self.lease.leave(self.body, self.framing.reusable);
    }
}

/// Gives the connection back as soon as the last frame is here: nobody may ask for the end after it.
fn complete_at_end(open: &mut Option<Open>) {
    if open.as_ref().is_some_and(|open| open.body.is_end_stream()) {
        complete(open);
    }
}

fn complete(open: &mut Option<Open>) {
    if let Some(open) = open.take() {
        let Open {
            lease,
            timer,
            trace,
            ..
        } = open;
        if let Some(trace) = trace {
            trace.complete();
        }
        if let Some(timer) = timer.into_inner() {
            lease.conn().return_timer(timer);
        }
        lease.complete();
    }
}

fn fail(place: &mut Option<Open>, error: &Error) {
    if let Some(open) = place.take() {
        open.fail(error.kind());
    }
}

/// The next frame of a body, which is taken out of its place at its end.
pub(super) fn poll_next(
    place: &mut Option<Open>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
    let Some(open) = place else {
        return Poll::Ready(None);
    };
    let Poll::Ready(frame) = Pin::new(&mut open.body).poll_frame(cx) else {
        let limit = ready!(open.timer.poll_expired(cx));
        let error = failure::late(&open.lease, Late::Read(limit));
        fail(place, &error);
        return Poll::Ready(Some(Err(error)));
    };
    open.timer.stop();
    Poll::Ready(match frame {
        Some(Ok(frame)) if open.is_surplus(&frame) => {
            if let Some(open) = place.take() {
                open.leave();
            }
            None
        }
        Some(Ok(frame)) => {
            if frame.is_trailers() {
                // Nothing comes after them.
                complete(place);
            } else {
                complete_at_end(place);
            }
            Some(Ok(frame))
        }
        Some(Err(error)) => {
            let error = failure::in_body(open.lease.conn()).with_source(error);
            fail(place, &error);
            Some(Err(error))
        }
        None if open.is_cut_short() => {
            let error = failure::in_body(open.lease.conn());
            fail(place, &error);
            Some(Err(error.with_detail("the stream was reset before its end")))
        }
        None => {
            complete(place);
            None
        }
    })
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.state {
            State::Own(open) => poll_next(open, cx),
            State::Watched(watched) => watched.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Own(open) => open.is_none(),
            State::Watched(watched) => watched.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Own(None) => SizeHint::with_exact(0),
            // One whose time has run out is about to fail.
            State::Own(Some(_)) | State::Watched(_) => {
                self.with_open(|open| open.map_or_else(SizeHint::new, |open| open.body.size_hint()))
            }
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        let open = match &mut self.state {
            State::Own(open) => open.take(),
            State::Watched(watched) => watched.take(),
        };
        if let Some(open) = open {
            open.leave();
        }
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody")
            .field("ended", &self.is_end_stream())
            .finish_non_exhaustive()
    }
}
