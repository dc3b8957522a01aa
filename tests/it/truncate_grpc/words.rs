//! A service whose messages are plain bytes.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::{
    Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
};
use tower::{Service, service_fn};

/// `/test.Words/Stream` and `/Unary` answer with words, `/Lossy` with part of one.
#[derive(Clone)]
pub(super) struct Words;

/// Messages as they are.
#[derive(Clone, Copy, Default)]
pub(super) struct Raw;

pub(super) const WORDS: [&str; 4] = ["one", "two", "three", "four"];

impl NamedService for Words {
    const NAME: &'static str = "test.Words";
}

impl Service<Request<Body>> for Words {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        async move {
            let mut grpc = tonic::server::Grpc::new(Raw);
            let response = match request.uri().path() {
                "/test.Words/Stream" => grpc.server_streaming(service_fn(words), request).await,
                "/test.Words/Unary" => grpc.unary(service_fn(word), request).await,
                "/test.Words/Lossy" => lossy(),
                _ => Status::unimplemented("no such method").into_http(),
            };
            Ok(response)
        }
        .boxed()
    }
}

type Answer<T> = Result<tonic::Response<T>, Status>;

async fn words(_: tonic::Request<Bytes>) -> Answer<BoxStream<'static, Result<Bytes, Status>>> {
    let words = WORDS.map(|word| Ok(Bytes::from(word)));
    Ok(tonic::Response::new(stream::iter(words).boxed()))
}

async fn word(_: tonic::Request<Bytes>) -> Answer<Bytes> {
    Ok(tonic::Response::new(Bytes::from_static(b"a long word")))
}

/// A whole message, part of another, and a good status: what a cut by bytes would make.
fn lossy() -> Response<Body> {
    let wire = Bytes::from_static(b"\0\0\0\0\x03one\0\0\0\0\x03t");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(wire), Frame::trailers(trailers)];
    let frames = frames.map(Ok::<_, Status>);
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body).unwrap()
}

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
