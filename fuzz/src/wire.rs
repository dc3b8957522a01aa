//! Upstreams in this process: a connector whose sockets are pipes, under a clock that does not wait.

use std::{
    convert::Infallible,
    future::ready,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    time::{sleep, timeout},
};
use tower::{Service, service_fn};
use tower_upstream::{Limits, Timeouts, Upstream, UpstreamBuilder};

/// Longer than anything may take.
const FOREVER: Duration = Duration::from_secs(600);

/// How long what is left behind may take to go: more than any timeout or idle time in use here.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// One end of a pipe, and the count of them.
pub struct Wire {
    io: TokioIo<DuplexStream>,
    _open: Arc<()>,
}

/// How many sockets are open.
#[derive(Clone, Default)]
pub struct Open(Arc<()>);

impl Open {
    pub fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    /// Has every connection served by a task of its own, told where it was meant to go.
    pub fn connector<F, S>(
        &self,
        serve: S,
    ) -> impl Service<Uri, Response = Wire, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
    where
        S: Fn(Uri, DuplexStream) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let open = Arc::downgrade(&self.0);
        service_fn(move |uri: Uri| {
            let (near, far) = duplex(16 * 1024);
            tokio::spawn(serve(uri, far));
            ready(Ok(Wire {
                io: TokioIo::new(near),
                _open: open.upgrade().expect("it is counted to the end"),
            }))
        })
    }
}

/// Few connections and short times.
pub fn builder() -> UpstreamBuilder {
    Upstream::builder()
        .limits(Limits::new().max_connections(2))
        .timeouts(Timeouts::new(Duration::from_secs(1)))
}

/// Runs `scene` to its end, whatever time that takes: none on the clock on the wall.
pub fn run(scene: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async { timeout(FOREVER, scene).await });
    ended.expect("nothing hangs");
}

/// Nothing is in use now that nobody asks for anything, and nothing is open a while later.
pub async fn assert_nothing_is_left(upstream: &Upstream, open: &Open) {
    sleep(AFTERWARDS).await;
    let total = upstream.stats().total;
    assert_eq!((total.in_use, total.waiting), (0, 0), "nothing is at work");
    assert_eq!((total.open, open.count()), (0, 0), "nor is a socket open");
}

/// Reads until the other side closes.
pub async fn exhaust(io: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut space = [0; 4096];
    while matches!(io.read(&mut space).await, Ok(1..)) {}
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
