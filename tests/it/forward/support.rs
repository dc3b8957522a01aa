//! Fronts, and clients that write what they like.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower_upstream::{Forward, Timeouts, Upstream};

pub(crate) use crate::support::front::axum;
pub(super) use crate::support::front::bare;
use crate::{
    faults,
    support::{Received, Server, sized, trial::Trial},
};

/// Longer than anything takes that a test waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// An upstream that keeps what it was sent, and says "ok".
pub(super) struct Echo {
    pub(super) server: Server,
    trial: Trial,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Echo {
    pub(super) async fn start() -> Self {
        Self::saying(|_| sized("ok")).await
    }

    pub(super) async fn saying(
        answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let received = Arc::<Mutex<Vec<_>>>::default();
        let answer = Arc::new(answer);
        let trial = Trial::start(faults::builder()).await;
        let server = Server::answering({
            let received = received.clone();
            move |request| {
                let bytes = answer(&request);
                received.lock().unwrap().push(request);
                std::future::ready(bytes)
            }
        })
        .await;
        trial.count_sockets_to(server.address);
        Self {
            server,
            trial,
            received,
        }
    }

    pub(super) fn forward(&self) -> Forward {
        let origin = self.server.uri("/").parse().unwrap();
        self.trial.upstream.forward_to(origin)
    }

    /// What has come since the last look.
    pub(super) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }

    /// The one request that has come since the last look.
    pub(super) fn one(&self) -> Received {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "exactly one request has come: {all:?}");
        all.remove(0)
    }

    /// Everything is as it was before. How often a request has come is for the test to say.
    pub(super) async fn over(self) {
        let Self { server, trial, .. } = self;
        drop(server);
        trial.over([]).await;
    }
}

pub(super) fn upstream() -> Upstream {
    Upstream::builder().build().unwrap()
}

/// To a server for which it does not wait long.
pub(super) fn forward_impatiently(server: &Server) -> Forward {
    let timeouts = Timeouts::default().read(Duration::from_millis(100));
    let upstream = Upstream::builder().timeouts(timeouts).build().unwrap();
    upstream.forward_to(server.uri("/").parse().unwrap())
}

pub(super) fn forward(server: &Server) -> Forward {
    upstream().forward_to(server.uri("/").parse().unwrap())
}

/// To a server that speaks HTTP/1.1 even to gRPC.
pub(super) fn forward_http1(server: &Server) -> Forward {
    let upstream = Upstream::builder().http1_only().build().unwrap();
    upstream.forward_to(server.uri("/").parse().unwrap())
}

/// Behind each of the two.
pub(super) async fn fronts(forward: Forward) -> [SocketAddr; 2] {
    [axum(forward.clone()).await, bare(forward).await]
}

/// What a client is answered that sends these bytes: all that comes until the server closes, which
/// the request should ask for.
pub(super) async fn send(front: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut socket = TcpStream::connect(front).await.unwrap();
    socket.write_all(request.as_ref()).await.unwrap();
    rest(&mut socket).await
}

/// A `GET /` with these lines more.
pub(super) async fn get(front: SocketAddr, lines: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: front.test\r\n{lines}connection: close\r\n\r\n");
    send(front, request).await
}

/// Everything until the end of the connection, however it ends.
pub(super) async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    assert!(
        read.is_ok(),
        "it is not closed: {:?}",
        String::from_utf8_lossy(&bytes)
    );
    String::from_utf8(bytes).unwrap()
}

/// The values of a field in a head, line by line.
pub(super) fn lines<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let head = head.split("\r\n\r\n").next().unwrap();
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

pub(super) fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or("none")
}
