//! `UpstreamLayer` around tonic's services, wherever it stands: what it refuses is a status, and a
//! call keeps its place until its stream is over.

use std::time::Duration;

use futures_util::stream;
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, time::timeout};
use tonic::{
    Code, Status, Streaming,
    service::LayerExt,
    transport::{Server, server::TcpIncoming},
};
use tower::Layer;
use tower_upstream::{AtOrigin, Origin, Truncate, Upstream, UpstreamLayer};

use super::words::{
    Scripted, Text, WordsClient, WordsServer, client, origin, read, reader, server, talk, text,
};
use crate::support::eventually;

fn layer() -> UpstreamLayer {
    UpstreamLayer::new(Upstream::builder().build().unwrap())
}

/// One call at a time, and none waits.
fn strict() -> UpstreamLayer {
    layer().max_in_flight(1).max_pending(0)
}

async fn listen() -> (TcpListener, Origin) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = origin(listener.local_addr().unwrap());
    (listener, origin)
}

/// Around all of a server's services.
async fn around_the_server(layer: UpstreamLayer) -> Origin {
    let (listener, origin) = listen().await;
    let server = Server::builder().layer(layer).add_service(words());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    origin
}

fn words() -> WordsServer<Scripted> {
    server(Scripted::default())
}

/// A new connection's client.
fn connect(origin: &Origin) -> WordsClient<AtOrigin> {
    client(&Upstream::builder().build().unwrap(), origin)
}

/// A call that is answered and does not end.
async fn open(client: &mut WordsClient<AtOrigin>) -> Streaming<Text> {
    let mut stream = client.split(text("one stall")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().text, "one");
    stream
}

#[track_caller]
fn assert_refused(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.message(), "too many requests are waiting");
}

async fn is_strict(origin: &Origin) {
    let mut client = connect(origin);
    let first = open(&mut client).await;
    for client in [&mut client, &mut connect(origin)] {
        assert_refused(&client.count(text("a")).await.unwrap_err());
        assert_refused(&client.split(text("a")).await.unwrap_err());
        let words = || stream::iter([text("a")]);
        assert_refused(&client.join(words()).await.unwrap_err());
        assert_refused(&client.shout(words()).await.unwrap_err());
    }
    drop(first);
    has_room(&mut client).await;
}

/// Its place is free once the stream is dropped.
async fn has_room(client: &mut WordsClient<AtOrigin>) {
    let again = async {
        while let Err(status) = client.count(text("a b")).await {
            assert_refused(&status);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let again = timeout(Duration::from_secs(10), again).await;
    again.expect("there is a place again");
}

#[tokio::test]
async fn around_tonics_server_it_refuses_every_kind_of_call_by_a_status() {
    is_strict(&around_the_server(strict()).await).await;
}

#[tokio::test]
async fn around_one_service_it_leaves_the_others_alone() {
    let (listener, origin) = listen().await;
    let server = Server::builder()
        .add_service(strict().named_layer(words()))
        .add_service(reader());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let mut client = connect(&origin);
    let first = open(&mut client).await;
    let upstream = Upstream::builder().build().unwrap();
    let page = read(&upstream, &origin).await;
    assert_eq!(page, "read", "it is not counted, and not refused");
    drop(first);
    has_room(&mut client).await;
    is_strict(&origin).await;
}

#[tokio::test]
async fn twice_in_a_stack_each_counts_for_itself() {
    let (listener, origin) = listen().await;
    let server = Server::builder()
        .layer(layer().max_in_flight(2).max_pending(0))
        .layer(strict())
        .add_service(words());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    is_strict(&origin).await;
}

#[tokio::test]
async fn around_a_service_on_bare_hyper_it_is_the_same() {
    let (listener, origin) = listen().await;
    let service = strict().layer(words());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            let http = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
        }
    });
    is_strict(&origin).await;
}

#[tokio::test]
async fn who_waits_is_served_when_the_stream_is_over_and_not_before() {
    let origin = around_the_server(layer().max_in_flight(1)).await;
    let mut client = connect(&origin);
    // It goes on for as long as this side does.
    let (words, receiver) = talk();
    let mut first = client.shout(receiver).await.unwrap().into_inner();
    let mut other = connect(&origin);
    let mut second = tokio::spawn(async move { other.count(text("a b")).await });
    for word in ["one", "two"] {
        words.send(text(word)).unwrap();
        assert!(first.message().await.unwrap().is_some());
        let waits = timeout(Duration::from_millis(50), &mut second).await;
        assert!(waits.is_err(), "the first stream is still open");
    }
    drop(words);
    assert_eq!(first.message().await.unwrap(), None, "with its trailers");
    let count = timeout(Duration::from_secs(10), second).await.unwrap();
    assert_eq!(count.unwrap().unwrap().into_inner().number, 2);
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let wait = Duration::from_millis(50);
    let origin = around_the_server(layer().max_in_flight(1).wait(wait)).await;
    let mut client = connect(&origin);
    let _first = open(&mut client).await;
    let status = client.count(text("a")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "no place came free in time");
}

#[tokio::test]
async fn a_stream_that_is_cut_gives_its_place_back() {
    let words = Scripted::default();
    let (listener, origin) = listen().await;
    let server = Server::builder()
        .layer(strict().truncate(Truncate::grpc_messages(1).take()))
        .add_service(server(words.clone()));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let mut client = connect(&origin);
    let mut first = client
        .split(text("one two stall"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.message().await.unwrap().unwrap().text, "one");
    assert_eq!(first.message().await.unwrap(), None, "that was all");
    eventually("the service has stopped", || words.live() == 0).await;
    let count = client.count(text("a b")).await.unwrap();
    assert_eq!(count.into_inner().number, 2, "although the first is kept");
    drop(first);
}
