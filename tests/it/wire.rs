//! HTTP/1.1 by hand: what a client sees, and when.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub(crate) use crate::support::front::router as serve;

/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    socket: TcpStream,
    received: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            socket: TcpStream::connect(address).await.unwrap(),
            received: String::new(),
        }
    }

    /// A new connection on which a `GET` has been sent.
    pub(crate) async fn get(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(address).await;
        client.send(path, "").await;
        client
    }

    /// Sends a `GET` with these header lines, each with its line end.
    pub(crate) async fn send(&mut self, path: &str, headers: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        self.socket.write_all(request.as_bytes()).await.unwrap();
    }

    /// What has come up to the end of `mark`, once that has come.
    pub(crate) async fn until(&mut self, mark: &str) -> String {
        let read = async {
            loop {
                if let Some(start) = self.received.find(mark) {
                    let rest = self.received.split_off(start + mark.len());
                    return std::mem::replace(&mut self.received, rest);
                }
                let mut bytes = [0; 4096];
                let n = self.socket.read(&mut bytes).await.unwrap();
                assert_ne!(n, 0, "closed before {mark:?}: {:?}", self.received);
                self.received.push_str(str::from_utf8(&bytes[..n]).unwrap());
            }
        };
        let text = timeout(PATIENCE, read).await;
        text.unwrap_or_else(|_| panic!("no {mark:?} has come"))
    }

    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }
}

/// Responses whose bodies begin and do not end, and how many of them there are at once.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Count>);

#[derive(Default)]
struct Count {
    now: AtomicUsize,
    peak: AtomicUsize,
}

struct Streaming(Arc<Count>);

impl Streams {
    pub(crate) fn response(&self) -> Response {
        let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.peak.fetch_max(now, Ordering::SeqCst);
        let streaming = Streaming(Arc::clone(&self.0));
        let chunks = stream::once(async { Ok::<_, Infallible>(Bytes::from("begun")) })
            .chain(stream::pending())
            .map(move |chunk| {
                let _held = &streaming;
                chunk
            });
        Response::new(Body::from_stream(chunks))
    }

    /// The most there have been at once, their bodies included.
    pub(crate) fn peak(&self) -> usize {
        self.0.peak.load(Ordering::SeqCst)
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
