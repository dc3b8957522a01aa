//! HTTP/1.1: how a request is shaped, and the task that drives a connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::{
    HeaderMap, HeaderValue, Request, Uri, Version,
    header::{CONNECTION, HOST, TE},
    uri::PathAndQuery,
};
use hyper::client::conn::http1;
use tokio::time::Instant;

use super::{
    Conn, Guard, Order, Parked, RequestBody, Work,
    clock::{Clock, Ring},
    io::SlotIo,
    sender::Sender,
};
use crate::{
    pool::{ConnId, Pool},
    stats::CloseCause,
};

/// Makes an absolute request one in origin form (RFC 9112 §3.2.1).
pub(super) fn shape(request: &mut Request<RequestBody>, host: &HeaderValue) {
    let path = request.uri().path_and_query().cloned();
    // Where a fragment followed the host there is a path that reads so, and is written as nothing.
    let path = path.filter(|path| path != "/");
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    // A request's version is often just that of the one it was made from.
    *request.version_mut() = Version::HTTP_11;
    request
        .headers_mut()
        .entry(HOST)
        .or_insert_with(|| host.clone());
    name_te(request.headers_mut());
}

/// `TE` is for the next hop only, and must be named as such (RFC 9110 §10.1.4).
fn name_te(headers: &mut HeaderMap) {
    if headers.contains_key(TE) {
        let named = headers.get_all(CONNECTION).iter().any(|value| {
            let mut names = value.to_str().unwrap_or_default().split(',');
            names.any(|name| name.trim().eq_ignore_ascii_case("te"))
        });
        if !named {
            headers.append(CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

/// Does the handshake, and returns the future that drives the connection to its end.
pub(super) async fn handshake(
    io: SlotIo,
    conn: &Arc<Conn>,
    pool: &Arc<Pool>,
    id: ConnId,
) -> hyper::Result<impl Future<Output = ()> + use<>> {
    let (sender, http) = http1::Builder::new().handshake(io).await?;
    conn.cell().sender = Some(Sender::Http1(sender));
    Ok(Driver {
        http: http.with_upgrades(),
        parked: None,
        chores: FuturesUnordered::new(),
        clock: Clock::default(),
        guard: Guard::new(conn, pool, id),
    })
}

/// Polls the connection, and finishes what exchanges leave behind.
///
/// `H` is hyper's connection, whose type has no name.
struct Driver<H> {
    http: H,
    /// There is one exchange at a time, and so no more than this.
    parked: Option<Parked>,
    chores: FuturesUnordered<BoxFuture<'static, ()>>,
    clock: Clock,
    /// Last, since it is dropped after the socket.
    guard: Guard,
}

impl<H> Driver<H> {
    /// Finishes what an exchange has left. True when hyper must be polled again.
    fn tend(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(work) = self.guard.conn.driver.next() {
            match work {
                Work::Finish(parked) => self.parked = Some(parked),
                Work::Run(chore) => self.chores.push(chore),
                Work::CheckClock => self.clock.check(&self.guard.pool, self.guard.id),
            }
        }
        while let Poll::Ready(Some(())) = self.chores.poll_next_unpin(cx) {}
        let Some(parked) = &mut self.parked else {
            return false;
        };
        let clean = match parked.poll_rest(cx) {
            // Not at once when the body ends: hyper may still be writing the request.
            Poll::Ready(true) => self.guard.conn.poll_ready(cx).map(|ready| ready.is_ok()),
            other => other,
        };
        let Poll::Ready(clean) = clean else {
            return false;
        };
        self.end_parked(clean);
        true
    }

    fn end_parked(&mut self, clean: bool) {
        if let Some(parked) = self.parked.take() {
            parked.end(clean);
        }
    }

    /// Waits for the next of its times. False when the connection's time is over.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let until = self.parked.as_ref().map(|parked| parked.until);
        let Guard { pool, id, .. } = &self.guard;
        if ready!(self.clock.poll(cx, until, pool, *id)) == Ring::Close {
            return Poll::Ready(false);
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            self.end_parked(false);
        }
        Poll::Ready(true)
    }
}

impl<H> Future for Driver<H>
where
    H: Future<Output = hyper::Result<()>> + Unpin,
{
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
            if let Poll::Ready(result) = Pin::new(&mut this.http).poll(cx) {
                if result.is_ok() {
                    this.guard.conn.cell().cause = CloseCause::Remote;
                }
                return Poll::Ready(());
            }
            if !this.tend(cx) && !ready!(this.poll_clock(cx)) {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use http::HeaderName;

    use super::*;

    /// The `Connection` lines of a request that has these.
    fn connection(lines: &[(HeaderName, &'static str)]) -> Vec<HeaderValue> {
        let mut request = Request::new(RequestBody::default());
        for (name, value) in lines {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(name, value);
        }
        shape(&mut request, &HeaderValue::from_static("a.test"));
        let lines = request.headers().get_all(CONNECTION);
        lines.iter().cloned().collect()
    }

    #[test]
    fn te_is_named_as_for_the_next_hop_only_and_no_more_than_once() {
        let te = (TE, "trailers");
        assert_eq!(connection(slice::from_ref(&te)), ["te"], "it is named");
        assert_eq!(
            connection(&[te.clone(), (CONNECTION, "close, x-te")]),
            ["close, x-te", "te"],
            "beside what is named already"
        );
        assert_eq!(
            connection(&[te, (CONNECTION, "close"), (CONNECTION, "x, TE")]),
            ["close", "x, TE"],
            "and not again"
        );
        assert!(connection(&[]).is_empty(), "nor where there is none");
    }
}
