//! The two upstreams, each on a port of its own.

use std::{io, vec};

use axum::{Router, routing::get};
use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};
use tower_upstream::Origin;

use crate::proto::{
    Number, Text,
    words_server::{Words, WordsServer},
};

/// A page over HTTP.
pub(crate) async fn serve_pages() -> io::Result<Origin> {
    let (listener, origin) = listen().await?;
    let site = Router::new().route("/", get("a page of six short words"));
    tokio::spawn(async move { axum::serve(listener, site).await });
    Ok(origin)
}

/// A service over gRPC.
pub(crate) async fn serve_words() -> io::Result<Origin> {
    let (listener, origin) = listen().await?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().add_service(WordsServer::new(English));
    tokio::spawn(server.serve_with_incoming(incoming));
    Ok(origin)
}

async fn listen() -> io::Result<(TcpListener, Origin)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    Ok((listener, origin.parse().map_err(io::Error::other)?))
}

/// Words are what stands between spaces.
struct English;

#[tonic::async_trait]
impl Words for English {
    type SplitStream = stream::Iter<vec::IntoIter<Result<Text, Status>>>;
    type ShoutStream = BoxStream<'static, Result<Text, Status>>;

    async fn count(&self, request: Request<Text>) -> Result<Response<Number>, Status> {
        let number = request.into_inner().text.split_whitespace().count() as u64;
        Ok(Response::new(Number { number }))
    }

    async fn split(&self, request: Request<Text>) -> Result<Response<Self::SplitStream>, Status> {
        let text = request.into_inner().text;
        let word = |word: &str| Ok(Text { text: word.into() });
        let words: Vec<_> = text.split_whitespace().map(word).collect();
        Ok(Response::new(stream::iter(words)))
    }

    async fn join(&self, request: Request<Streaming<Text>>) -> Result<Response<Text>, Status> {
        let words = request.into_inner().map_ok(|word| word.text);
        let text = words.try_collect::<Vec<_>>().await?.join(" ");
        Ok(Response::new(Text { text }))
    }

    async fn shout(
        &self,
        request: Request<Streaming<Text>>,
    ) -> Result<Response<Self::ShoutStream>, Status> {
        let loud = request.into_inner().map_ok(|word| Text {
            text: word.text.to_uppercase(),
        });
        Ok(Response::new(loud.boxed()))
    }
}
