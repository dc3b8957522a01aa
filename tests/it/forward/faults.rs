//! A broken upstream, seen through the proxy by clients of either version of HTTP.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use tokio::time::timeout;
use tower_upstream::{Upstream, UpstreamBuilder};

use super::support::{PATIENCE, axum};
use crate::support::{Peer, Server, client::Client, eventually, frames, sized};

/// What an upstream answers its first request with. It answers every other with "ok".
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) name: &'static str,
    upstream: Version,
    bytes: Vec<u8>,
    then: Then,
}

/// What becomes of the connection after that.
#[derive(Clone, Copy, Debug)]
enum Then {
    Serve,
    Close,
    Reset,
}

/// What a client sees.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) client: Version,
    /// `None` where no response has come whole.
    pub(super) head: Option<http::response::Parts>,
    /// Up to where it broke off, if it did.
    pub(super) body: Vec<u8>,
    pub(super) trailers: http::HeaderMap,
    pub(super) is_whole: bool,
}

/// A front of ours and what is behind it, for as long as one case takes.
pub(super) struct World {
    pub(super) upstream: Upstream,
    /// Until the end.
    _server: Server,
    pub(super) front: SocketAddr,
}

impl Fault {
    pub(super) fn http1(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            upstream: Version::HTTP_11,
            bytes: bytes.into(),
            then: Then::Serve,
        }
    }

    /// In frames, on stream 1.
    pub(super) fn http2<B: AsRef<[u8]>>(
        name: &'static str,
        frames: impl IntoIterator<Item = B>,
    ) -> Self {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(frame.as_ref());
        }
        Self {
            upstream: Version::HTTP_2,
            ..Self::http1(name, bytes)
        }
    }

    pub(super) fn close(self) -> Self {
        Self {
            then: Then::Close,
            ..self
        }
    }

    /// With RST.
    pub(super) fn reset(self) -> Self {
        Self {
            then: Then::Reset,
            ..self
        }
    }

    /// What a client of each version sees of it. After each, another request on the same front is
    /// served, and nothing is held any more.
    pub(super) async fn seen_by_both(&self, request: http::request::Builder) -> [Seen; 2] {
        let request = request.body(()).unwrap();
        let see = async |version| {
            let world = World::start(self.clone()).await;
            let seen = see(world.front, version, request.clone().map(|()| Empty::new())).await;
            world.is_well(self.name).await;
            seen
        };
        [see(Version::HTTP_11).await, see(Version::HTTP_2).await]
    }

    async fn inflict(&self, mut peer: Peer, is_first: &AtomicBool) -> io::Result<()> {
        if self.upstream == Version::HTTP_2 {
            frames::accept(&mut peer.stream).await?;
        }
        loop {
            let (stream, is_head) = match self.upstream {
                Version::HTTP_2 => match frames::request(&mut peer.stream).await? {
                    Some(stream) => (stream, false),
                    None => return Ok(()),
                },
                _ => match peer.request().await? {
                    Some(request) => (0, request.method() == "HEAD"),
                    None => return Ok(()),
                },
            };
            if is_first.swap(false, Ordering::SeqCst) {
                peer.write(&self.bytes).await?;
                match self.then {
                    Then::Serve => {}
                    Then::Close => return Ok(()),
                    Then::Reset => return reset(&mut peer).await,
                }
            } else if self.upstream == Version::HTTP_2 {
                peer.write(frames::ok(stream, &[])).await?;
                peer.write(frames::data(stream, "ok", true)).await?;
            } else {
                assert!(!is_head, "a second request is a GET");
                peer.write(sized("ok")).await?;
            }
        }
    }
}

/// Ends the connection by RST, once what was written is with the other side.
async fn reset(peer: &mut Peer) -> io::Result<()> {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    socket2::SockRef::from(&peer.stream).set_linger(Some(std::time::Duration::ZERO))
}

impl World {
    pub(super) async fn start(fault: Fault) -> Self {
        Self::start_with(fault, Upstream::builder()).await
    }

    pub(super) async fn start_with(fault: Fault, builder: UpstreamBuilder) -> Self {
        let version = fault.upstream;
        let is_first = Arc::new(AtomicBool::new(true));
        let fault = Arc::new(fault);
        let server = Server::start(move |peer| {
            let (fault, is_first) = (fault.clone(), is_first.clone());
            async move { fault.inflict(peer, &is_first).await }
        })
        .await;
        let upstream = in_version(builder, version);
        let forward = upstream.forward_to(server.uri("/").parse().unwrap());
        let front = axum(forward.proxy_status(true)).await;
        Self {
            upstream,
            _server: server,
            front,
        }
    }

    /// The next request is served, and everything has come back.
    pub(super) async fn is_well(&self, name: &str) {
        let next = Request::get("/").body(Empty::new()).unwrap();
        let next = see(self.front, Version::HTTP_11, next).await;
        assert!(
            next.is_whole && next.body == b"ok",
            "{name}: the next: {next:?}"
        );
        eventually(&format!("{name}: everything has come back"), || {
            let total = self.upstream.stats().total;
            total.in_use + total.waiting + total.connecting == 0
        })
        .await;
    }
}

/// A handle that speaks this version.
pub(crate) fn in_version(builder: UpstreamBuilder, version: Version) -> Upstream {
    let builder = match version {
        Version::HTTP_2 => builder.http2_prior_knowledge(),
        _ => builder.http1_only(),
    };
    builder.build().unwrap()
}

/// What a client of this version is answered, on a connection of its own.
pub(super) async fn see(
    front: SocketAddr,
    version: Version,
    request: Request<Empty<Bytes>>,
) -> Seen {
    let mut seen = Seen {
        client: version,
        head: None,
        body: Vec::new(),
        trailers: http::HeaderMap::new(),
        is_whole: false,
    };
    let mut client = Client::connect(front, version).await;
    let Ok(response) = client.send(request).await else {
        return seen;
    };
    let (head, mut body) = response.into_parts();
    seen.head = Some(head);
    loop {
        let frame = timeout(PATIENCE, body.frame()).await;
        match frame.unwrap_or_else(|_| panic!("the body stalls: {seen:?}")) {
            None => {
                seen.is_whole = true;
                return seen;
            }
            Some(Err(_)) => return seen,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => seen.body.extend_from_slice(&data),
                Err(frame) => seen.trailers.extend(frame.into_trailers().unwrap()),
            },
        }
    }
}

impl Seen {
    pub(super) fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |head| head.status.as_u16())
    }

    /// The lines of a field in the head.
    pub(super) fn lines(&self, name: &str) -> Vec<&str> {
        let head = self.head.as_ref().unwrap();
        let lines = head.headers.get_all(name).iter();
        lines.map(|line| line.to_str().unwrap()).collect()
    }
}
