//! A client of hyper's on one connection, in either version of HTTP.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every version a client may speak to a proxy, with every version the proxy may speak to its upstream.
pub(crate) const PAIRS: [(Version, Version); 4] = [
    (Version::HTTP_11, Version::HTTP_11),
    (Version::HTTP_11, Version::HTTP_2),
    (Version::HTTP_2, Version::HTTP_11),
    (Version::HTTP_2, Version::HTTP_2),
];

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can be sent as a request's body.
pub(crate) type Sent = UnsyncBoxBody<Bytes, BoxError>;

/// One connection.
pub(crate) struct Client {
    sender: Sender,
    authority: String,
}

enum Sender {
    Http1(http1::SendRequest<Sent>),
    Http2(http2::SendRequest<Sent>),
}

/// A response that has come whole.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, version: Version) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let socket = TokioIo::new(socket);
        let sender = if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), socket)
                .await
                .unwrap();
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Self {
            sender,
            authority: address.to_string(),
        }
    }

    /// Sends a request whose URI is a path.
    pub(crate) async fn send<B>(
        &mut self,
        request: Request<B>,
    ) -> Result<Response<Incoming>, hyper::Error>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let authority = &self.authority;
        let answer = match &mut self.sender {
            Sender::Http1(sender) => {
                request
                    .headers_mut()
                    .insert("host", authority.try_into().unwrap());
                timeout(PATIENCE, sender.send_request(request)).await
            }
            Sender::Http2(sender) => {
                let uri = format!("http://{authority}{}", request.uri());
                *request.uri_mut() = uri.try_into().unwrap();
                timeout(PATIENCE, sender.send_request(request)).await
            }
        };
        answer.unwrap_or_else(|_| panic!("no answer has come"))
    }

    /// Sends a request, and reads its answer to the end.
    pub(crate) async fn ask(
        &mut self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Whole {
        let request = request.body(Full::new(body.into())).unwrap();
        let (head, body) = self.send(request).await.unwrap().into_parts();
        let body = timeout(PATIENCE, body.collect()).await;
        let body = body.unwrap_or_else(|_| panic!("the body does not end"));
        let body = body.unwrap();
        Whole {
            head,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        }
    }
}

/// The answer to one request on a connection of its own.
pub(crate) async fn ask(
    address: SocketAddr,
    version: Version,
    request: http::request::Builder,
    body: impl Into<Bytes>,
) -> Whole {
    Client::connect(address, version)
        .await
        .ask(request, body)
        .await
}

impl Whole {
    /// A field that is there once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.headers.get_all(name).iter();
        let line = lines.next().map(|value| value.to_str().unwrap());
        assert!(lines.next().is_none(), "{name} is there once");
        line
    }
}
