//! One connection of a scripted upstream, and HTTP/1.1 on it.

use std::{
    future::Future,
    io,
    sync::{Arc, atomic::Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{ms, record::Record};

/// One connection, as its script sees it.
#[derive(Debug)]
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    buffered: Vec<u8>,
    counted: Counted,
    /// The how-manieth connection this is, from 0.
    pub(crate) number: usize,
}

/// One open connection.
#[derive(Debug)]
struct Counted(Arc<Record>);

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Request line and headers, as they came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl<S> Peer<S> {
    pub(super) fn new(stream: S, number: usize, record: Arc<Record>) -> Self {
        record.opened();
        Self {
            stream,
            buffered: Vec::new(),
            counted: Counted(record),
            number,
        }
    }

    /// Something is wrong with this connection from here on: a request that still comes on it is one
    /// too many.
    pub(crate) fn fault(&self) {
        self.counted.0.fault(self.number);
    }

    /// Puts a request down that a script has read by other means.
    pub(crate) fn saw(&self, method: &str, id: Option<&str>) {
        self.counted.0.saw(self.number, method, id);
    }

    /// The same connection through one more layer.
    pub(crate) async fn through<T, F>(self, layer: impl FnOnce(S) -> F) -> io::Result<Peer<T>>
    where
        F: Future<Output = io::Result<T>>,
    {
        Ok(Peer {
            stream: layer(self.stream).await?,
            buffered: self.buffered,
            counted: self.counted,
            number: self.number,
        })
    }
}

impl Peer {
    /// Closes the connection by a reset: nothing that is on its way arrives.
    pub(crate) fn reset(self) -> io::Error {
        self.stream.set_zero_linger().unwrap();
        io::ErrorKind::ConnectionReset.into()
    }

    /// The same, once what was written is with the other side.
    pub(crate) async fn reset_soon(self) -> io::Result<()> {
        reset_soon(&self.stream).await
    }
}

/// Has the connection end by a reset, once what was written is with the other side.
pub(super) async fn reset_soon(stream: &TcpStream) -> io::Result<()> {
    sleep(ms(50)).await;
    stream.set_zero_linger()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// The next request, with its body. `None` at the end of the connection.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Received>> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let mut body = Vec::new();
        if let Some(length) = header(&head, "content-length") {
            body = self.take(length.parse().unwrap()).await?;
        } else if header(&head, "transfer-encoding").is_some() {
            loop {
                let line = self.line().await?;
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                body.extend(self.take(size).await?);
                self.line().await?;
                if size == 0 {
                    break;
                }
            }
        }
        self.counted.0.requests.fetch_add(1, Ordering::SeqCst);
        Ok(Some(Received { head, body }))
    }

    /// The next request's head alone.
    pub(crate) async fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffered.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<_> = self.buffered.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                let method = head.split(' ').next().unwrap();
                self.saw(method, header(&head, "x-id"));
                return Ok(Some(head));
            }
            if self.stream.read_buf(&mut self.buffered).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Waits until the other side closes.
    pub(crate) async fn closed(&mut self) {
        while !matches!(
            self.stream.read_buf(&mut self.buffered).await,
            Ok(0) | Err(_)
        ) {}
    }

    /// Takes so many bytes.
    pub(crate) async fn drain(&mut self, n: usize) -> io::Result<()> {
        self.take(n).await.map(drop)
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    pub(super) async fn take(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.buffered.len() < n {
            if self.stream.read_buf(&mut self.buffered).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffered.drain(..n).collect())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffered.iter().position(|&b| b == b'\n') {
                let line: Vec<_> = self.buffered.drain(..=end).collect();
                return Ok(String::from_utf8(line).unwrap());
            }
            if self.stream.read_buf(&mut self.buffered).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.closed();
    }
}

impl Received {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    /// Its `x-id`.
    pub(crate) fn id(&self) -> &str {
        self.header("x-id").unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// A field's first value in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
