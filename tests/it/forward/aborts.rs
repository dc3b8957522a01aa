//! Clients that leave.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::Notify,
    time::{Instant, timeout},
};

use super::support::{PATIENCE, forward, fronts};
use crate::support::Server;

/// How soon the upstream learns of it.
const SOON: Duration = Duration::from_millis(100);

/// A busy machine may hold a try up.
const TRIES: usize = 5;

/// An upstream that, once it has the head, writes this and waits for the end of the connection.
async fn waiting(answer: &'static str) -> (Server, Arc<[Notify; 2]>) {
    let events = Arc::new([Notify::new(), Notify::new()]);
    let server = Server::start({
        let events = events.clone();
        move |mut peer| {
            let events = events.clone();
            async move {
                peer.head().await?;
                peer.write(answer).await?;
                events[0].notify_one();
                peer.closed().await;
                events[1].notify_one();
                Ok(())
            }
        }
    })
    .await;
    (server, events)
}

#[tokio::test]
async fn g11_the_upstream_learns_of_a_client_that_has_left() {
    for (answer, request) in [
        ("", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        (
            "",
            "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf",
        ),
        (
            "",
            "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ] {
        let (server, events) = waiting(answer).await;
        for front in fronts(forward(&server)).await {
            let mut took = Vec::new();
            while took.last().is_none_or(|took| *took >= SOON) {
                assert!(took.len() < TRIES, "{request:?} {answer:?}: after {took:?}");
                let mut client = TcpStream::connect(front).await.unwrap();
                client.write_all(request.as_bytes()).await.unwrap();
                timeout(PATIENCE, events[0].notified()).await.unwrap();
                drop(client);
                let left = Instant::now();
                timeout(PATIENCE, events[1].notified()).await.unwrap();
                took.push(left.elapsed());
            }
        }
    }
}

#[tokio::test]
async fn a_request_half_sent_never_looks_complete() {
    let ends = Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = Server::start({
        let ends = ends.clone();
        move |mut peer| {
            let ends = ends.clone();
            async move {
                let request = peer.request().await;
                ends.lock().unwrap().push(request.is_ok());
                Ok(())
            }
        }
    })
    .await;
    for front in fronts(forward(&server)).await {
        for body in [
            "content-length: 9\r\n\r\nhalf",
            "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ] {
            let mut client = TcpStream::connect(front).await.unwrap();
            let request = format!("PUT / HTTP/1.1\r\nhost: a\r\n{body}");
            client.write_all(request.as_bytes()).await.unwrap();
            let known = server.accepted();
            crate::support::eventually("it is under way", || {
                server.accepted() > known || server.open() > 0
            })
            .await;
            drop(client);
            crate::support::eventually("it has ended", || server.open() == 0).await;
        }
    }
    assert_eq!(
        *ends.lock().unwrap(),
        [false; 4],
        "the upstream knows that there should be more"
    );
}
