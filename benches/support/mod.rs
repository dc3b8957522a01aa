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
use tower::Service;

/// Opens connections that answer each request with an empty 200, or, to hosts that begin with
/// `silent`, never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InMemory;

#[derive(Debug)]
pub(crate) struct Stream {
    silent: bool,
    answers: usize,
    reader: Option<Waker>,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

impl Service<Uri> for InMemory {
    type Response = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        ready(Ok(Stream {
            silent: uri.host().is_some_and(|host| host.starts_with("silent")),
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
        if buf.ends_with(b"\r\n\r\n") && !self.silent {
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
        if self.answers == 0 {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.answers -= 1;
        buf.put_slice(ANSWER);
        Poll::Ready(Ok(()))
    }
}
