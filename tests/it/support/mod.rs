//! Scripted upstream servers, and a look at this process's sockets.

use std::{fmt::Write as _, time::Duration};

use tokio::time::{Instant, sleep};
use tower_upstream::Timeouts;

pub(crate) mod alone;
pub(crate) mod client;
pub(crate) mod dials;
pub(crate) mod echo;
pub(crate) mod examples;
pub(crate) mod frames;
pub(crate) mod front;
pub(crate) mod http2;
mod peer;
pub(crate) mod peers;
pub(crate) mod random;
mod record;
mod server;
pub(crate) mod sockets;
pub(crate) mod trial;

pub(crate) use self::{
    peer::{Peer, Received, header},
    server::Server,
};

/// Waits as long as it takes for a connection and for an answer.
pub(crate) fn patient() -> Timeouts {
    Timeouts::default().pool(None).read(None)
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A response whose length is told.
pub(crate) fn sized(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    response.extend_from_slice(body);
    response
}

/// A response in chunks.
pub(crate) fn chunked<B: AsRef<[u8]>>(chunks: impl IntoIterator<Item = B>) -> Vec<u8> {
    let mut response =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for chunk in chunks {
        let chunk = chunk.as_ref();
        let mut size = String::new();
        write!(size, "{:x}\r\n", chunk.len()).unwrap();
        response.extend_from_slice(size.as_bytes());
        response.extend_from_slice(chunk);
        response.extend_from_slice(b"\r\n");
    }
    response.extend_from_slice(b"0\r\n\r\n");
    response
}

/// Waits until `condition` holds, for at most two seconds of real time.
pub(crate) async fn eventually(sentence: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(2);
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "not within two seconds: {sentence}"
        );
        sleep(Duration::from_millis(2)).await;
    }
}
