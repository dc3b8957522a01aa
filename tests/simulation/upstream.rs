//! A server that answers with its own name and the request's path, in pieces and at its leisure.

use std::{convert::Infallible, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::sleep;
use turmoil::net::TcpListener;

use super::{PORT, Protocol, random::Random};

/// The text for a path at a host.
pub(crate) fn page(host: &str, path: &str) -> String {
    format!("{host} says {path}; ").repeat(20)
}

pub(crate) async fn serve(host: &'static str, protocol: Protocol) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let service = service_fn(move |request| answer(host, request));
        let io = TokioIo::new(socket);
        tokio::spawn(async move {
            // A connection that breaks is what this is about.
            let _ = match protocol {
                Protocol::Http1 => http1::Builder::new().serve_connection(io, service).await,
                Protocol::Http2 => {
                    let http2 = http2::Builder::new(TokioExecutor::new());
                    http2.serve_connection(io, service).await
                }
            };
        });
    }
}

async fn answer(
    host: &'static str,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let number = path.trim_start_matches('/').parse().unwrap_or_default();
    let mut random = Random::new(number);
    sleep(Duration::from_millis(random.below(60))).await;
    let text = page(host, &path);
    let pieces = 1 + random.index(3);
    let pieces: Vec<_> = text
        .as_bytes()
        .chunks(text.len().div_ceil(pieces))
        .map(Bytes::copy_from_slice)
        .collect();
    let frames = stream::unfold(pieces.into_iter(), move |mut pieces| {
        let pause = Duration::from_millis(random.below(20));
        async move {
            let piece = pieces.next()?;
            sleep(pause).await;
            Some((Ok(Frame::data(piece)), pieces))
        }
    });
    Ok(Response::new(StreamBody::new(Box::pin(frames))))
}
