//! Connectors that count: before they connect, and after what they opened has been closed.

use std::{
    fmt,
    future::{Future, pending, ready},
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
    net::TcpStream,
    sync::mpsc,
};
use tower::Service;
use tower_upstream::{Limits, Timeouts, Upstream, UpstreamBuilder};

use super::{Peer, record::Record};

/// How much of a connection inside this process is on its way at most.
const BUFFER: usize = 16 * 1024;

/// Where requests go over connections inside this process.
pub(crate) const URI: &str = "http://in.process/";

/// What a dial may end with.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A handle with so many connections, whose upstream the test plays.
pub(crate) fn by_hand(max_connections: usize, timeouts: Timeouts) -> (Upstream, Dials, Peers) {
    let (dials, peers) = Dials::by_hand();
    let limits = Limits::new().max_connections(max_connections);
    let builder = dials.builder().limits(limits).timeouts(timeouts);
    (builder.build().unwrap(), dials, peers)
}

/// What a GET is answered.
pub(crate) async fn text(upstream: &Upstream) -> String {
    let response = upstream.get(URI).await.unwrap();
    response.into_body().text(1000).await.unwrap()
}

type Open = dyn Fn(Uri) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync;

/// A connector for [`UpstreamBuilder::connector`](tower_upstream::UpstreamBuilder::connector).
#[derive(Clone)]
pub(crate) struct Dials {
    open: Arc<Open>,
    /// Sockets, from before the dial until after the close.
    sockets: Arc<Record>,
    /// The other ends, where they are in this process.
    peers: Arc<Record>,
    /// From this dial on, counted from 0, HTTP/2 is negotiated.
    http2_from: usize,
}

/// What becomes of a dial before it gets anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Refused,
    /// Nothing ever comes back.
    Lost,
}

/// The ends that the upstream's side of a dial has, one by one.
pub(crate) type Peers = mpsc::UnboundedReceiver<Peer<DuplexStream>>;

impl Dials {
    pub(crate) fn new<F, Fut, S>(open: F) -> Self
    where
        F: Fn(Uri) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: Stream + 'static,
    {
        let open = move |uri| -> BoxFuture<'static, _> {
            let opening = open(uri);
            Box::pin(async move { Ok(Box::new(opening.await?) as Box<dyn Stream>) })
        };
        Self {
            open: Arc::new(open),
            sockets: Arc::default(),
            peers: Arc::default(),
            http2_from: usize::MAX,
        }
    }

    /// Over TCP.
    pub(crate) fn tcp() -> Self {
        Self::new(|uri| async move { TcpStream::connect(uri.authority().unwrap().as_str()).await })
    }

    /// Within this process, so that paused time is exact. The upstream's ends are the test's.
    pub(crate) fn by_hand() -> (Self, Peers) {
        Self::by_hand_but_to("")
    }

    /// The same, but that nobody listens at `dead`.
    pub(crate) fn by_hand_but_to(dead: &'static str) -> (Self, Peers) {
        let (sender, peers) = mpsc::unbounded_channel();
        let record = Arc::<Record>::default();
        let shared = record.clone();
        let mut dials = Self::new(move |uri: Uri| {
            if uri.host() == Some(dead) {
                return ready(Err(io::ErrorKind::ConnectionRefused.into()));
            }
            let (near, far) = duplex(BUFFER);
            let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
            // A test that no longer looks lets the end go.
            let _ = sender.send(Peer::new(far, number, shared.clone()));
            ready(Ok(near))
        });
        dials.peers = record;
        (dials, peers)
    }

    /// Within this process, to a server that runs `script` for each connection.
    pub(crate) fn to<F, Fut>(script: F) -> Self
    where
        F: Fn(Peer<DuplexStream>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (dials, mut peers) = Self::by_hand();
        let record = dials.peers.clone();
        tokio::spawn(async move {
            while let Some(peer) = peers.recv().await {
                let (script, record) = (script(peer), record.clone());
                tokio::spawn(async move { record.run(script).await });
            }
        });
        dials
    }

    /// Within this process, to a server that answers every request with these bytes.
    pub(crate) fn answering(response: Vec<u8>) -> Self {
        let response = Arc::new(response);
        Self::to(move |mut peer| {
            let response = response.clone();
            async move {
                while peer.request().await?.is_some() {
                    peer.write(&*response).await?;
                }
                Ok(())
            }
        })
    }

    /// The same, where a dial is let through.
    pub(crate) fn gated(&self, gate: impl Fn(&Uri) -> Gate + Send + Sync + 'static) -> Self {
        let open = self.open.clone();
        let gated = move |uri| match gate(&uri) {
            Gate::Open => open(uri),
            Gate::Refused => Box::pin(ready(Err(io::ErrorKind::ConnectionRefused.into()))),
            Gate::Lost => Box::pin(pending()),
        };
        self.opening(Arc::new(gated))
    }

    /// The same, with whatever it opens inside `layer`.
    pub(crate) fn through<S, F>(&self, layer: F) -> Self
    where
        S: Stream + 'static,
        F: Fn(Box<dyn Stream>) -> S + Clone + Send + Sync + 'static,
    {
        let open = self.open.clone();
        let through = move |uri| -> BoxFuture<'static, _> {
            let (opening, layer) = (open(uri), layer.clone());
            Box::pin(async move { Ok(Box::new(layer(opening.await?)) as Box<dyn Stream>) })
        };
        self.opening(Arc::new(through))
    }

    /// The same, with HTTP/2 negotiated from the dial with this number on.
    pub(crate) fn http2_from(mut self, number: usize) -> Self {
        self.http2_from = number;
        self
    }

    /// The same, opened in another way.
    fn opening(&self, open: Arc<Open>) -> Self {
        Self {
            open,
            sockets: self.sockets.clone(),
            peers: self.peers.clone(),
            http2_from: self.http2_from,
        }
    }

    /// A handle to be that dials with this.
    pub(crate) fn builder(&self) -> UpstreamBuilder {
        Upstream::builder().connector(self.clone())
    }

    /// Sockets that are being opened, open or not quite closed.
    pub(crate) fn open(&self) -> usize {
        self.sockets.open.load(Ordering::SeqCst)
    }

    /// The most of them there were.
    pub(crate) fn peak(&self) -> usize {
        self.sockets.peak.load(Ordering::SeqCst)
    }

    /// Dials so far.
    pub(crate) fn dialed(&self) -> usize {
        self.sockets.accepted.load(Ordering::SeqCst)
    }
}

impl Service<Uri> for Dials {
    type Response = Counted;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Counted>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let number = self.sockets.accepted.fetch_add(1, Ordering::SeqCst);
        let http2 = number >= self.http2_from;
        let open = self.sockets.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.sockets.peak.fetch_max(open, Ordering::SeqCst);
        let count = Count(self.sockets.clone());
        let opening = (self.open)(uri);
        Box::pin(async move {
            Ok(Counted {
                io: TokioIo::new(opening.await?),
                http2,
                _count: count,
            })
        })
    }
}

/// An open socket.
pub(crate) struct Counted {
    io: TokioIo<Box<dyn Stream>>,
    http2: bool,
    /// After `io`, so that it ends after it.
    _count: Count,
}

struct Count(Arc<Record>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.http2 {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Counted {
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

impl Drop for Dials {
    fn drop(&mut self) {
        self.peers.assert_sound();
    }
}

impl fmt::Debug for Dials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dials")
            .field("sockets", &self.sockets)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}
