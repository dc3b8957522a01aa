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
use crate::{
    faults,
    support::{Peer, Server, client::Client, http2, sized, trial::Trial},
};

/// What an upstream answers its first request with. It answers every other with its id.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) name: &'static str,
    upstream: Version,
    bytes: Vec<u8>,
    then: Then,
    spoils: bool,
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

impl Fault {
    pub(super) fn http1(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            upstream: Version::HTTP_11,
            bytes: bytes.into(),
            then: Then::Serve,
            spoils: false,
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

    /// Its connection may carry no other request.
    pub(super) fn spoils(self) -> Self {
        Self {
            spoils: true,
            ..self
        }
    }

    /// What a client of each version sees of it, through a proxy that is well afterwards.
    pub(super) async fn seen_by_both(&self, request: http::request::Builder) -> [Seen; 2] {
        let request = request.body(()).unwrap();
        let see = async |version| {
            let trial = Trial::start(in_protocol(faults::builder(), self.upstream)).await;
            let server = self.serve(&trial).await;
            let forward = trial.upstream.forward_to(server.uri("/").parse().unwrap());
            let front = axum(forward.proxy_status(true)).await;
            let mut request = request.clone().map(|()| Empty::new());
            let id = trial.name(Request::builder()).body(()).unwrap();
            request.headers_mut().extend(id.headers().clone());
            let seen = see(front, version, request).await;

            let next = trial.name(Request::get("/")).body(Empty::new()).unwrap();
            let id = next.headers()["x-id"].clone();
            let next = see(front, Version::HTTP_11, next).await;
            let name = self.name;
            let is_answered = next.is_whole && next.body == id.as_bytes();
            assert!(is_answered, "{name}: the next: {next:?}");
            trial.over([server]).await;
            seen
        };
        [see(Version::HTTP_11).await, see(Version::HTTP_2).await]
    }

    /// Answers the first request with the fault, and every other with its id.
    async fn serve(&self, trial: &Trial) -> Server {
        let is_first = Arc::new(AtomicBool::new(true));
        let fault = Arc::new(self.clone());
        trial
            .server(move |peer| {
                let (fault, is_first) = (fault.clone(), is_first.clone());
                async move {
                    if fault.upstream == Version::HTTP_2 {
                        fault.inflict_http2(peer, &is_first).await
                    } else {
                        fault.inflict_http1(peer, &is_first).await
                    }
                }
            })
            .await
    }

    async fn inflict_http1(&self, mut peer: Peer, is_first: &AtomicBool) -> io::Result<()> {
        while let Some(request) = peer.request().await? {
            if !is_first.swap(false, Ordering::SeqCst) {
                peer.write(sized(request.id())).await?;
                continue;
            }
            if self.spoils {
                peer.fault();
            }
            peer.write(&self.bytes).await?;
            match self.then {
                Then::Serve => {}
                Then::Close => return Ok(()),
                Then::Reset => return peer.reset_soon().await,
            }
        }
        Ok(())
    }

    async fn inflict_http2(&self, peer: Peer, is_first: &AtomicBool) -> io::Result<()> {
        let (mut peer, frames) = http2::accept_injected(peer).await?;
        // Unanswered, they are there until the end of the connection.
        let mut begun = Vec::new();
        while let Some(call) = peer.call().await {
            if !is_first.swap(false, Ordering::SeqCst) {
                call.answer();
                continue;
            }
            assert_eq!(call.stream(), 1, "the stream of the frames");
            if self.spoils {
                peer.fault();
            }
            begun.push(call);
            frames.send(self.bytes.clone());
            match self.then {
                Then::Serve => {}
                Then::Close => break,
                Then::Reset => frames.reset(),
            }
        }
        Ok(())
    }
}

/// A handle to be that speaks this version.
pub(super) fn in_protocol(builder: UpstreamBuilder, version: Version) -> UpstreamBuilder {
    match version {
        Version::HTTP_2 => builder.http2_prior_knowledge(),
        _ => builder.http1_only(),
    }
}

/// A handle that speaks this version.
pub(crate) fn in_version(builder: UpstreamBuilder, version: Version) -> Upstream {
    in_protocol(builder, version).build().unwrap()
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
