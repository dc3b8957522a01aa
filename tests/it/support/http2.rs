//! HTTP/2 on a connection of a scripted upstream, by the `h2` crate, with frames of one's own put in
//! between; see `frames` for HTTP/2 by hand.

use std::{fmt, future::poll_fn, io};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    server::{Builder, Connection, SendResponse},
};
use http::{Response, request};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split},
    net::TcpStream,
    sync::mpsc,
};

use super::{Peer, peer::reset_soon};

/// A connection after its handshake.
pub(crate) type Http2<S = TcpStream> = Peer<Connection<S, Bytes>>;

/// One stream, as its script sees it.
pub(crate) struct Call {
    pub(crate) head: request::Parts,
    pub(crate) body: RecvStream,
    respond: SendResponse<Bytes>,
}

/// Whether the client begins with HTTP/2's preface, which comes in one piece.
pub(crate) async fn speaks_http2(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 3];
    let read = socket.peek(&mut first).await?;
    Ok(&first[..read] == b"PRI")
}

pub(crate) async fn accept<S>(peer: Peer<S>) -> io::Result<Http2<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    accept_with(peer, &Builder::new()).await
}

pub(crate) async fn accept_with<S>(peer: Peer<S>, builder: &Builder) -> io::Result<Http2<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    peer.through(|stream| async {
        let handshake = builder.handshake(stream).await;
        handshake.map_err(io::Error::other)
    })
    .await
}

/// As [`accept`], with a way to put frames between those of the `h2` crate.
pub(crate) async fn accept_injected(peer: Peer) -> io::Result<(Http2<DuplexStream>, Injector)> {
    let (near, far) = duplex(1 << 16);
    let (sender, frames) = mpsc::unbounded_channel();
    let peer = peer
        .through(|socket| async {
            tokio::spawn(pump(socket, far, frames));
            Ok(near)
        })
        .await?;
    Ok((accept(peer).await?, Injector(sender)))
}

/// Puts frames of one's own on a connection. They are out before a connection ends that is dropped.
#[derive(Debug)]
pub(crate) struct Injector(mpsc::UnboundedSender<Injected>);

#[derive(Debug)]
enum Injected {
    Frames(Vec<u8>),
    Reset,
}

impl Injector {
    pub(crate) fn send(&self, frames: impl Into<Vec<u8>>) {
        // Who is gone in the meantime is not told.
        let _ = self.0.send(Injected::Frames(frames.into()));
    }

    /// Ends the connection by RST.
    pub(crate) fn reset(&self) {
        let _ = self.0.send(Injected::Reset);
    }
}

/// Passes everything on, and other frames between two of the server's own.
async fn pump(
    socket: TcpStream,
    server: DuplexStream,
    mut frames: mpsc::UnboundedReceiver<Injected>,
) {
    let (mut from_client, mut to_client) = socket.into_split();
    let (mut from_server, mut to_server) = split(server);
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server)
            .await
            .map(drop)
    };
    let down = async {
        let mut buffered = Vec::new();
        loop {
            let whole = whole_frames(&buffered);
            to_client.write_all(&buffered[..whole]).await?;
            buffered.drain(..whole);
            tokio::select! {
                biased;
                // Where nobody sends them any more, there are no others.
                Some(injected) = frames.recv(), if buffered.is_empty() => match injected {
                    Injected::Frames(frames) => to_client.write_all(&frames).await?,
                    Injected::Reset => return reset_soon(to_client.as_ref()).await,
                },
                read = from_server.read_buf(&mut buffered) => if read? == 0 {
                    return Ok::<_, io::Error>(());
                },
            }
        }
    };
    // The end of either is the end of the connection.
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}

/// How many bytes of these are whole frames.
fn whole_frames(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(head) = bytes.get(whole..whole + 9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if bytes.len() < whole + 9 + length {
            break;
        }
        whole += 9 + length;
    }
    whole
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http2<S> {
    /// The next stream. `None` at the end of the connection. As long as this is waited for, what the
    /// others have to send is sent.
    pub(crate) async fn call(&mut self) -> Option<Call> {
        let (request, respond) = self.stream.accept().await?.ok()?;
        let (head, body) = request.into_parts();
        let call = Call {
            head,
            body,
            respond,
        };
        self.saw(call.head.method.as_str(), Some(&call.id()));
        Some(call)
    }

    /// Sends what the streams have to send, and takes no other, until the connection ends.
    pub(crate) async fn run(&mut self) {
        while self.call().await.is_some() {}
    }
}

/// Holds a body that goes no further, until the client has reset the stream or is gone.
pub(crate) async fn stall(mut body: SendStream<Bytes>) {
    let _ = poll_fn(|cx| body.poll_reset(cx)).await;
}

impl Call {
    pub(crate) fn id(&self) -> String {
        let id = self.head.headers.get("x-id").map(|id| id.to_str().unwrap());
        id.unwrap_or_default().to_owned()
    }

    pub(crate) fn is_fault(&self) -> bool {
        self.head.uri.path() == "/fault"
    }

    pub(crate) fn stream(&self) -> u32 {
        self.body.stream_id().as_u32()
    }

    /// Ready when the client has reset the stream, which has no answer yet, or is gone.
    pub(crate) async fn left(&mut self) {
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }

    /// Answers with the request's id.
    pub(crate) fn answer(mut self) {
        let id = self.id();
        // Who has left in the meantime is not told.
        if let Ok(mut body) = self.respond.send_response(Response::new(()), false) {
            let _ = body.send_data(id.into(), true);
        }
    }

    /// Answers with a head that a body follows.
    pub(crate) fn begin(&mut self) -> SendStream<Bytes> {
        self.respond
            .send_response(Response::new(()), false)
            .unwrap()
    }

    pub(crate) fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
