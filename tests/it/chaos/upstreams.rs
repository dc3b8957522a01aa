//! Upstreams that do what a request's path says, and count what comes to them.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Method, Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::{
    plan::{ACTS, Act, Place},
    verdict::page,
};
use crate::{
    support::{Peer, Server, chunked},
    tls::Authority,
};

/// How often each request has come, by its number.
pub(super) type Arrivals = Arc<Vec<AtomicU8>>;

pub(super) struct Upstreams {
    servers: Vec<Server>,
    dead: SocketAddr,
    pub(super) authority: Authority,
}

/// What one of the servers is.
#[derive(Clone)]
struct Part {
    place: Place,
    acceptor: Option<TlsAcceptor>,
    arrivals: Arrivals,
}

/// What is to become of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

impl Upstreams {
    pub(super) async fn start(arrivals: &Arrivals) -> Self {
        let authority = Authority::new("127.0.0.1");
        let acceptor = |protocol: &[u8]| {
            let mut config = (*authority.server).clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsAcceptor::from(Arc::new(config))
        };
        let mut servers = Vec::new();
        for place in Place::LIVE {
            let part = Part {
                place,
                acceptor: match place {
                    Place::Tls => Some(acceptor(b"http/1.1")),
                    Place::TlsHttp2 => Some(acceptor(b"h2")),
                    _ => None,
                },
                arrivals: arrivals.clone(),
            };
            servers.push(Server::start(move |peer| part.clone().serve(peer)).await);
        }
        // A port that was free a moment ago, and to which nothing is bound any more.
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        Self {
            servers,
            dead: listener.local_addr().unwrap(),
            authority,
        }
    }

    /// Its memory is to be flat, too.
    pub(super) fn forget_seen(&self) {
        self.servers.iter().for_each(Server::forget_seen);
    }

    pub(super) fn uri(&self, place: Place, path: &str) -> String {
        let scheme = match place {
            Place::Tls | Place::TlsHttp2 => "https",
            _ => "http",
        };
        let server = self.servers.get(place as usize);
        let address = server.map_or(self.dead, |server| server.address);
        format!("{scheme}://{address}{path}")
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let servers = self.servers.iter().map(|server| server.address);
        servers.chain([self.dead]).collect()
    }
}

/// The number and the act in a path.
fn parse(path: &str) -> (usize, Act) {
    let mut parts = path.split('/').skip(1).map(|part| part.parse().unwrap());
    (parts.next().unwrap(), ACTS[parts.next().unwrap()])
}

impl Part {
    async fn serve(self, peer: Peer) -> io::Result<()> {
        match self.acceptor.clone() {
            None if self.place.is_http2() => {
                let served = peer.through(|stream| self.serve_http2(stream));
                served.await.map(drop)
            }
            None => {
                let mut peer = peer;
                if self.serve_http1(&mut peer).await? == End::Reset {
                    peer.stream.set_zero_linger()?;
                }
                Ok(())
            }
            Some(acceptor) if self.place.is_http2() => {
                let serve = async |stream: TcpStream| {
                    let stream = acceptor.accept(stream).await?;
                    self.serve_http2(stream).await
                };
                peer.through(serve).await.map(drop)
            }
            Some(acceptor) => {
                let accept = async |stream| acceptor.accept(stream).await.map(TlsStream::from);
                let mut peer = peer.through(accept).await?;
                if self.serve_http1(&mut peer).await? == End::Reset {
                    peer.stream.get_ref().0.set_zero_linger()?;
                }
                Ok(())
            }
        }
    }

    async fn serve_http1<S>(&self, peer: &mut Peer<S>) -> io::Result<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        while let Some(head) = peer.head().await? {
            let (id, act) = parse(head.split(' ').nth(1).unwrap());
            self.arrivals[id].fetch_add(1, Ordering::Relaxed);
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            if act != Act::Early {
                peer.drain(length).await?;
            }
            if let Some(end) = answer_http1(peer, self.place, id, act).await? {
                return Ok(end);
            }
            if act == Act::Early {
                peer.drain(length).await?;
            }
        }
        Ok(End::Close)
    }

    async fn serve_http2<S>(&self, io: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut connection = h2::server::handshake(io).await.map_err(io::Error::other)?;
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, response))) => {
                        streams.spawn(self.clone().answer_http2(request, response));
                    }
                    Some(Err(_)) | None => return Ok(()),
                },
                Some(act) = streams.join_next() => match act.unwrap() {
                    Act::Reset => return Ok(()),
                    Act::HangUp => connection.graceful_shutdown(),
                    _ => {}
                },
            }
        }
    }

    /// Does it, and says what it was: it may mean something for the whole connection.
    async fn answer_http2(
        self,
        request: Request<RecvStream>,
        mut response: SendResponse<Bytes>,
    ) -> Act {
        let (id, act) = parse(request.uri().path());
        let is_post = request.method() == Method::POST;
        if act == Act::Garbage {
            response.send_reset(Reason::REFUSED_STREAM);
            return act;
        }
        self.arrivals[id].fetch_add(1, Ordering::Relaxed);
        let mut body = request.into_body();
        if act != Act::Early {
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
            }
        }
        match act {
            Act::Slow => sleep(Duration::from_millis(1)).await,
            Act::Close | Act::HalfHead => {
                response.send_reset(Reason::INTERNAL_ERROR);
                return act;
            }
            Act::Reset => return act,
            Act::Silent => {
                let _ = poll_fn(|cx| response.poll_reset(cx)).await;
                return act;
            }
            _ => {}
        }
        let page = page(self.place, id, act);
        let half = page.len() / 2;
        let mut head = Response::builder()
            .status(if act == Act::Error { 500 } else { 200 })
            .header("content-type", "text/plain")
            .header("x-id", id);
        if is_post {
            // Where the request's body may not be out yet, nothing else tells an end from a stop.
            head = head.header("content-length", page.len());
        }
        let Ok(mut stream) = response.send_response(head.body(()).unwrap(), false) else {
            return act;
        };
        match act {
            Act::CutShort | Act::CutChunks => {
                let reason = if act == Act::CutShort {
                    Reason::INTERNAL_ERROR
                } else {
                    Reason::NO_ERROR
                };
                if send(&mut stream, page[..half].to_vec().into(), false).await {
                    // What still waits to be written goes with the reset.
                    sleep(Duration::from_millis(1)).await;
                    stream.send_reset(reason);
                }
            }
            Act::Stalled => {
                if send(&mut stream, page[..half].to_vec().into(), false).await {
                    let _ = poll_fn(|cx| stream.poll_reset(cx)).await;
                }
            }
            _ => {
                send(&mut stream, page.into(), true).await;
            }
        }
        act
    }
}

/// Does it, and says what is to become of the connection if it does not stay.
async fn answer_http1<S>(
    peer: &mut Peer<S>,
    place: Place,
    id: usize,
    act: Act,
) -> io::Result<Option<End>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let page = page(place, id, act);
    let (half, rest) = page.split_at(page.len() / 2);
    let status = if act == Act::Error { 500 } else { 200 };
    let head = format!("HTTP/1.1 {status} x\r\ncontent-type: text/plain\r\nx-id: {id}\r\n");
    let length = format!("content-length: {}\r\n\r\n", page.len());
    let sized = [head.as_bytes(), length.as_bytes(), &page].concat();
    match act {
        Act::Slow => sleep(Duration::from_millis(1)).await,
        Act::Silent => peer.closed().await,
        _ => {}
    }
    match act {
        Act::Sized | Act::Large | Act::Slow | Act::Error | Act::Early => peer.write(sized).await?,
        Act::Chunked => {
            let chunked = chunked([half, rest]);
            let text = String::from_utf8_lossy(&chunked).into_owned();
            let named = text.replacen("\r\n\r\n", &format!("\r\nx-id: {id}\r\n\r\n"), 1);
            peer.write(named).await?;
        }
        Act::HangUp => {
            peer.write(sized).await?;
            return Ok(Some(End::Close));
        }
        Act::Extra => {
            let evil = "HTTP/1.1 200 OK\r\nx-id: evil\r\ncontent-length: 4\r\n\r\nEVIL";
            peer.write([&sized, evil.as_bytes()].concat()).await?;
        }
        Act::Reset => return Ok(Some(End::Reset)),
        Act::Close | Act::Silent => return Ok(Some(End::Close)),
        Act::Garbage => {
            peer.write("\0what is this?\r\n\r\n").await?;
            return Ok(Some(End::Close));
        }
        Act::HalfHead => {
            peer.write(&head[..head.len() / 2]).await?;
            return Ok(Some(End::Close));
        }
        Act::CutShort | Act::Stalled => {
            peer.write([head.as_bytes(), length.as_bytes(), half].concat())
                .await?;
            if act == Act::Stalled {
                peer.closed().await;
            }
            return Ok(Some(End::Close));
        }
        Act::CutChunks => {
            let chunks = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", half.len());
            peer.write([head.as_bytes(), chunks.as_bytes(), half].concat())
                .await?;
            peer.stream.flush().await?;
            return Ok(Some(End::Close));
        }
    }
    Ok(None)
}

/// Sends as the windows let it. False when nobody wants it.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> bool {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
            return false;
        };
        let piece = data.split_to(room.min(data.len()));
        let last = end && data.is_empty();
        if stream.send_data(piece, last).is_err() {
            return false;
        }
    }
    true
}
