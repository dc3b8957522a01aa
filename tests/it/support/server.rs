//! Scripted upstream servers that count their own sockets.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};

use super::{
    Peer, Received,
    record::{Record, Seen},
    sized,
};

/// A server on loopback whose every connection is handed to a script. A script that panics fails
/// the test when the server is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What its URIs begin with.
    base: String,
    record: Arc<Record>,
    accepting: AbortHandle,
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
        let record = Arc::<Record>::default();
        let shared = record.clone();
        let accepting = tokio::spawn(async move {
            // Ends every connection when the server is dropped.
            let mut scripts = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                let script = script(Peer::new(stream, number, shared.clone()));
                let record = shared.clone();
                scripts.spawn(async move { record.run(script).await });
                while scripts.try_join_next().is_some() {}
            }
        })
        .abort_handle();
        Self {
            address,
            base: format!("http://{address}"),
            record,
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
        format!("{}{path}", self.base)
    }

    /// Its URIs are https from now on, and it is called by its name.
    pub(crate) fn over_tls(mut self) -> Self {
        self.base = format!("https://localhost:{}", self.address.port());
        self
    }

    /// Connections open at the moment.
    pub(crate) fn open(&self) -> usize {
        self.record.open.load(Ordering::SeqCst)
    }

    /// The most connections that were ever open at once, as the server saw it.
    pub(crate) fn peak(&self) -> usize {
        self.record.peak.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.record.accepted.load(Ordering::SeqCst)
    }

    /// Requests read so far.
    pub(crate) fn requests(&self) -> usize {
        self.record.requests.load(Ordering::SeqCst)
    }

    /// The heads that have come so far, in their order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.record.seen()
    }

    /// Keeps no head that has come until now.
    pub(crate) fn forget_seen(&self) {
        self.record.forget_seen();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.record.assert_sound();
    }
}
