//! Scripted upstream servers that count their own sockets, and a look at this process's.

use std::{
    fmt::Write as _,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};

pub(crate) mod client;
pub(crate) mod dials;
pub(crate) mod examples;
pub(crate) mod frames;
pub(crate) mod peers;
pub(crate) mod random;
pub(crate) mod sockets;

/// A server on loopback whose every connection is handed to a script.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    accepting: AbortHandle,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    peak: AtomicUsize,
    accepted: AtomicUsize,
    requests: AtomicUsize,
}

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
struct Counted(Arc<Counts>);

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Request line and headers, as they came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// Runs `script` once for each connection.
    pub(crate) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, script)
    }

    pub(crate) fn start_on<F, Fut>(listener: TcpListener, script: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let shared = counts.clone();
        let accepting = tokio::spawn(async move {
            // Ends every connection when the server is dropped.
            let mut scripts = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                scripts.spawn(script(Peer::new(stream, number, shared.clone())));
                while scripts.try_join_next().is_some() {}
            }
        })
        .abort_handle();
        Self {
            address,
            counts,
            accepting,
        }
    }

    /// Answers each request with what `answer` writes, for as long as the peer wishes.
    pub(crate) async fn answering<F, Fut>(answer: F) -> Self
    where
        F: Fn(Received) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<u8>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Self::start(move |mut peer| {
            let answer = answer.clone();
            async move {
                while let Some(request) = peer.request().await? {
                    let bytes = answer(request).await;
                    peer.stream.write_all(&bytes).await?;
                }
                Ok(())
            }
        })
        .await
    }

    /// Answers every request at once with this text.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::answering(move |_| async move { sized(text) }).await
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections open at the moment.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// The most connections that were ever open at once, as the server saw it.
    pub(crate) fn peak(&self) -> usize {
        self.counts.peak.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Requests read so far.
    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl<S> Peer<S> {
    fn new(stream: S, number: usize, counts: Arc<Counts>) -> Self {
        let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
        counts.peak.fetch_max(open, Ordering::SeqCst);
        Self {
            stream,
            buffered: Vec::new(),
            counted: Counted(counts),
            number,
        }
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

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// The next request, with its body. `None` at the end of the connection.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Received>> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (n, value) = line.split_once(':')?;
                n.eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        let mut body = Vec::new();
        if let Some(length) = header("content-length") {
            body = self.take(length.parse().unwrap()).await?;
        } else if header("transfer-encoding").is_some() {
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
                return Ok(Some(String::from_utf8(head).unwrap()));
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

    async fn take(&mut self, n: usize) -> io::Result<Vec<u8>> {
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
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Received {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }
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
