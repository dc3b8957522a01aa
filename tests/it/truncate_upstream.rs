//! The layer around `Upstream`: what becomes of the connections behind cut bodies.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower::{Layer, ServiceExt};
use tower_upstream::{Truncate, TruncateService, Truncation, TruncationOutcome, Upstream};

use crate::support::{Server, chunked, eventually, sized};

fn cutting(upstream: &Upstream) -> TruncateService<Upstream> {
    Truncate::chars(50).layer().layer(upstream.clone())
}

async fn get(service: &TruncateService<Upstream>, uri: String) -> (Bytes, TruncationOutcome) {
    let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let response = service.clone().oneshot(request).await.unwrap();
    let truncation = response.extensions().get::<Truncation>().cloned().unwrap();
    let body = response.into_body().collect().await.unwrap();
    (body.to_bytes(), truncation.outcome())
}

#[tokio::test]
async fn a_thousand_cuts_of_chunked_bodies_take_three_connections_at_most() {
    // Row 80: the rest is read on behind the cut, and the connection used again.
    let page = chunked(vec!["é".repeat(1024); 32]);
    let server = Server::answering(move |_| std::future::ready(page.clone())).await;
    let upstream = Upstream::builder().build().unwrap();
    let service = cutting(&upstream);
    for _ in 0..1000 {
        let (body, outcome) = get(&service, server.uri("/")).await;
        assert_eq!(body, "é".repeat(50), "fifty characters pass");
        let original = None;
        let cut = TruncationOutcome::Cut {
            bytes: 100,
            original,
        };
        assert_eq!(outcome, cut, "of more");
    }
    let accepted = server.accepted();
    assert!(accepted <= 3, "{accepted} connections for a thousand cuts");
}

#[tokio::test]
async fn a_rest_that_is_long_closes_its_connection_and_a_short_one_keeps_it() {
    // Rows 78 and 79.
    let server = Server::answering(async |request| {
        let length = if request.path() == "/long" {
            1 << 20
        } else {
            1 << 10
        };
        sized("x".repeat(length))
    });
    let server = server.await;
    let upstream = Upstream::builder().build().unwrap();
    let service = cutting(&upstream);
    for (path, original) in [("/short", 1 << 10), ("/long", 1 << 20), ("/short", 1 << 10)] {
        let (body, outcome) = get(&service, server.uri(path)).await;
        assert_eq!(body, "x".repeat(50), "{path}: fifty characters pass");
        let original = Some(original);
        let cut = TruncationOutcome::Cut {
            bytes: 50,
            original,
        };
        assert_eq!(outcome, cut, "{path}: of as many as there were said to be");
    }
    assert!(
        server.accepted() >= 2,
        "a mebibyte is not read on for a connection"
    );
}

#[tokio::test]
async fn an_upstream_is_asked_for_what_can_be_cut_and_what_it_sends_all_the_same_is_decoded() {
    // Rows 34 and 64: gzip of a long text, from one who does not look at what is accepted.
    const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xab\xa8\x18\x05\x23\x0d\0\0\
        \x51\xce\xb2\x0a\xf4\x01\0\0";
    let server = Server::answering(async |request| {
        let head = request.head.to_ascii_lowercase();
        let identity = head.contains("accept-encoding: identity");
        assert!(
            identity && !head.contains("range:"),
            "it is asked for the whole: {head}"
        );
        let mut response = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
            content-encoding: gzip\r\nconnection: close\r\n\r\n"
            .to_vec();
        response.extend_from_slice(GZIP);
        response
    });
    let server = server.await;
    let upstream = Upstream::builder().build().unwrap();
    let (body, _) = get(&cutting(&upstream), server.uri("/")).await;
    assert_eq!(body, "x".repeat(50), "fifty characters pass");
}

/// A socket that counts what is read from it.
struct Counting {
    socket: TcpStream,
    read: Arc<AtomicUsize>,
}

impl Connection for Counting {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.socket).poll_read(cx, buf);
        self.read
            .fetch_add(buf.filled().len() - before, Ordering::SeqCst);
        poll
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn of_sixteen_mebibytes_no_more_than_128_kib_are_read_for_fifty_characters() {
    let sizes: [fn(&str) -> Vec<u8>; 2] = [|page| sized(page), |page| chunked([page])];
    for respond in sizes {
        let page = Arc::new(respond(&"é".repeat(8 << 20)));
        let server = Server::answering(move |_| {
            let page = page.clone();
            async move { page.to_vec() }
        })
        .await;
        let read = Arc::new(AtomicUsize::new(0));
        let (address, count) = (server.address, read.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let read = count.clone();
            async move {
                let socket = TcpStream::connect(address).await?;
                Ok::<_, io::Error>(TokioIo::new(Counting { socket, read }))
            }
        });
        let upstream = Upstream::builder().connector(connector).build().unwrap();
        let service = cutting(&upstream);
        let (body, _) = get(&service, server.uri("/")).await;
        assert_eq!(body, "é".repeat(50), "fifty characters pass");
        eventually("the connection is closed", || {
            upstream.stats().total.open == 0
        })
        .await;
        let read = read.load(Ordering::SeqCst);
        assert!(read <= 128 << 10, "{read} bytes were read");
    }
}
