//! An upstream in memory: a connector whose connections answer by themselves, so that a bench
//! measures this crate and hyper, and no kernel.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::runtime::{Builder, Runtime};
use tower::Service;

/// Opens connections that answer each request at once: with a hundred bytes of text to hosts that
/// begin with `page`, never to those that begin with `silent`, and with an empty 200 to others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InMemory;

#[derive(Debug)]
pub(crate) struct Stream {
    /// `None` for none.
    answer: Option<&'static [u8]>,
    answers: usize,
    reader: Option<Waker>,
}

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 100\r\n\
    date: Tue, 01 Sep 2026 00:00:00 GMT\r\n\
    \r\n\
    The quick brown fox jumps over the lazy dog, and after that it jumps back again, over and over more.";

/// One thread for all: what is counted or timed is then done in the same order each time.
pub(crate) fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    #[expect(clippy::expect_used, reason = "a bench fails by a panic")]
    runtime.expect("a runtime can be had")
}

impl Service<Uri> for InMemory {
    type Response = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let answer = match uri.host() {
            Some(host) if host.starts_with("silent") => None,
            Some(host) if host.starts_with("page") => Some(PAGE),
            _ => Some(EMPTY),
        };
        ready(Ok(Stream {
            answer,
            answers: 0,
            reader: None,
        }))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // hyper writes a request without a body in one piece.
        if buf.ends_with(b"\r\n\r\n") && self.answer.is_some() {
            self.answers += 1;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.answer {
            Some(answer) if self.answers > 0 => {
                self.answers -= 1;
                buf.put_slice(answer);
                Poll::Ready(Ok(()))
            }
            _ => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
