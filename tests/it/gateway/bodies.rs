//! Large bodies and trailers through the gateway.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, extract::Request, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower_upstream::{Timeouts, Upstream, UpstreamBuilder};

use super::Gateway;
use crate::{
    support::{Server, sockets},
    wire,
};

const LENGTH: u64 = 100 << 20;

/// What the gateway may need beyond what it has: what is on its way, on both sides.
const ROOM: usize = 16 << 20;

/// Bytes that tell their place, modulo a prime number, so that none can be lost or doubled unseen.
fn pattern() -> Bytes {
    (0..251).collect::<Vec<u8>>().repeat(251).into()
}

fn pieces() -> impl Iterator<Item = Bytes> + Send {
    let (pattern, mut left) = (pattern(), usize::try_from(LENGTH).unwrap());
    std::iter::from_fn(move || {
        let length = pattern.len().min(left);
        left -= length;
        (length > 0).then(|| pattern.slice(..length))
    })
}

/// How many bytes there are, each of which is looked at and none kept.
async fn check(body: Body) -> u64 {
    let (pattern, mut length) = (pattern(), 0);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        for part in piece.unwrap().chunks(pattern.len() - 251) {
            let place = usize::try_from(length % 251).unwrap();
            assert!(part == &pattern[place..][..part.len()], "at {length}");
            length += part.len() as u64;
        }
    }
    length
}

/// Gives a large body, and takes one.
async fn upstream() -> String {
    let large = || Body::from_stream(stream::iter(pieces().map(Ok::<_, Infallible>)));
    let routes = get(async move || large())
        .post(async |request: Request| check(request.into_body()).await.to_string());
    format!(
        "http://{}",
        wire::serve(Router::new().route("/", routes)).await
    )
}

async fn there_and_back(gateway: &Gateway, client: &Upstream) {
    let uri = gateway.uri("/proxy/");
    // Whatever is loaded once is.
    client
        .send(http::Request::head(&uri).body(String::new()).unwrap())
        .await
        .unwrap();
    let before = sockets::memory_of(gateway.pid());

    let body = client.get(&uri).await.unwrap().into_body();
    assert_eq!(
        check(Body::new(body)).await,
        LENGTH,
        "the download is whole"
    );

    let frames = pieces().map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let body = StreamBody::new(stream::iter(frames));
    let response = client
        .send(http::Request::post(&uri).body(body).unwrap())
        .await
        .unwrap();
    let length = response.into_body().text(100).await.unwrap();
    assert_eq!(length, LENGTH.to_string(), "and so is the upload");

    let growth = sockets::peak_memory_of(gateway.pid()).saturating_sub(before);
    assert!(
        growth < ROOM,
        "at most, it held {growth} bytes more than before"
    );
}

fn client() -> UpstreamBuilder {
    Upstream::builder().timeouts(Timeouts::new(Duration::from_secs(60)))
}

const PATIENCE: &[&str] = &["--read-timeout", "60s", "--write-timeout", "60s"];

#[tokio::test]
async fn a_hundred_mebibytes_pass_both_ways_in_constant_memory() {
    let gateway = Gateway::before(&upstream().await, PATIENCE).await;
    there_and_back(&gateway, &client().build().unwrap()).await;
}

#[tokio::test]
async fn a_hundred_mebibytes_pass_over_http2_in_constant_memory() {
    let flags = [PATIENCE, &["--http2-prior-knowledge"]].concat();
    let gateway = Gateway::before(&upstream().await, &flags).await;
    there_and_back(&gateway, &client().http2_prior_knowledge().build().unwrap()).await;
}

#[tokio::test]
async fn trailers_of_chunked_bodies_pass_both_ways() {
    let server = Server::start(|mut peer| async move {
        peer.head().await?;
        // Up to the next empty line, as a head.
        let body = peer.head().await?.unwrap();
        assert_eq!(body, "2\r\nhi\r\n0\r\nx-there: 1\r\n\r\n");
        peer.write(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-back\r\n\r\n\
             5\r\nhello\r\n0\r\nx-back: 2\r\n\r\n",
        )
        .await
    })
    .await;
    let gateway = Gateway::before(&server.uri(""), &[]).await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let request = "POST /proxy/ HTTP/1.1\r\nhost: front.test\r\nte: trailers\r\n\
        connection: te, close\r\ntransfer-encoding: chunked\r\ntrailer: x-there\r\n\r\n\
        2\r\nhi\r\n0\r\nx-there: 1\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let read = socket.read_to_string(&mut response);
    timeout(Duration::from_secs(10), read)
        .await
        .unwrap()
        .unwrap();
    assert!(
        response.ends_with("5\r\nhello\r\n0\r\nx-back: 2\r\n\r\n"),
        "{response}"
    );
}
