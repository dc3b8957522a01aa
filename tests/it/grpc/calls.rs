//! tonic's generated clients over the handle: every kind of call, and every way it may end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status, Streaming};
use tower_upstream::{AtOrigin, Limits, Origin, Timeouts, Upstream};

use super::words::{REASON, Scripted, Text, WordsClient, client, serve, server, talk, text};
use crate::{
    support::{Server, eventually},
    tls::Authority,
};

fn upstream() -> Upstream {
    Upstream::builder()
        .limits(Limits::new().max_connections(1))
        // What stands still here does so on purpose.
        .timeouts(Timeouts::new(Duration::from_secs(60)))
        .build()
        .unwrap()
}

/// The words of a stream, and how it ended.
async fn read(mut stream: Streaming<Text>) -> (Vec<String>, Result<(), Status>) {
    let mut words = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(word)) => words.push(word.text),
            Ok(None) => return (words, Ok(())),
            Err(status) => return (words, Err(status)),
        }
    }
}

async fn every_kind_works(client: &mut WordsClient<AtOrigin>) {
    let count = client.count(text("one two three")).await.unwrap();
    assert_eq!(count.into_inner().number, 3, "unary");

    let split = client.split(text("one two three")).await.unwrap();
    let (words, end) = read(split.into_inner()).await;
    assert_eq!(words, ["one", "two", "three"], "server streaming");
    end.unwrap();

    let words = stream::iter(["one", "two", "three"].map(text));
    let joined = client.join(words).await.unwrap();
    assert_eq!(joined.into_inner().text, "onetwothree", "client streaming");

    let (sender, words) = talk();
    let mut loud = client.shout(words).await.unwrap().into_inner();
    for word in ["one", "two", "three"] {
        sender.send(text(word)).unwrap();
        let answer = loud.message().await.unwrap().unwrap();
        assert_eq!(answer.text, word.to_uppercase(), "each before the next");
    }
    drop(sender);
    assert_eq!(loud.message().await.unwrap(), None, "both ways, to the end");
}

#[tokio::test]
async fn every_kind_of_call_goes_over_one_connection() {
    let origin = serve(Scripted::default()).await;
    let upstream = upstream();
    every_kind_works(&mut client(&upstream, &origin)).await;
    eventually("it is idle", || upstream.stats().total.idle == 1).await;
    assert_eq!(upstream.stats().opened, 1);
}

#[tokio::test]
async fn every_kind_of_call_goes_over_tls() {
    let authority = Authority::new("localhost");
    let mut config = (*authority.server).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let secure = Server::start(move |peer| {
        let acceptor = acceptor.clone();
        async move {
            let peer = peer.through(|socket| acceptor.accept(socket)).await?;
            let protocol = peer.stream.get_ref().1.alpn_protocol();
            assert_eq!(protocol, Some(&b"h2"[..]), "what is negotiated");
            let words = TowerToHyperService::new(server(Scripted::default()));
            let http = http2::Builder::new(TokioExecutor::new());
            let _ = http
                .serve_connection(TokioIo::new(peer.stream), words)
                .await;
            Ok(())
        }
    })
    .await;
    let origin: Origin = format!("https://localhost:{}", secure.address.port())
        .parse()
        .unwrap();
    let upstream = Upstream::builder().tls(authority.trusting).build().unwrap();
    every_kind_works(&mut client(&upstream, &origin)).await;
    assert_eq!(upstream.stats().opened, 1);
}

#[track_caller]
fn assert_failed(status: &Status) {
    assert_eq!(status.code(), Code::DataLoss, "{status:?}");
    assert_eq!(status.message(), REASON);
    let word = status.metadata().get("x-word");
    assert_eq!(word.unwrap(), "fail", "what came with the status");
}

#[tokio::test]
async fn a_status_arrives_whole_in_a_head_or_in_trailers() {
    let origin = serve(Scripted::default()).await;
    let upstream = upstream();
    let mut client = client(&upstream, &origin);
    // No message before it: the status is the head's.
    assert_failed(&client.count(text("fail")).await.unwrap_err());

    let split = client.split(text("one two fail three")).await.unwrap();
    let (words, end) = read(split.into_inner()).await;
    assert_eq!(words, ["one", "two"], "what came before it");
    assert_failed(&end.unwrap_err());

    let words = stream::iter(["one", "fail"].map(text));
    let shouted = client.shout(words).await.unwrap();
    let (words, end) = read(shouted.into_inner()).await;
    assert_eq!(words, ["ONE"]);
    assert_failed(&end.unwrap_err());
    assert_eq!(
        upstream.stats().opened,
        1,
        "the connection is none the worse"
    );
}

#[tokio::test]
async fn an_upstream_that_has_heard_enough_ends_the_upload() {
    let origin = serve(Scripted::default()).await;
    let upstream = upstream();
    let mut client = client(&upstream, &origin);
    let endless = stream::iter([text("fail")]).chain(stream::repeat(text("more")));
    let status = timeout(Duration::from_secs(10), client.join(endless)).await;
    assert_failed(&status.unwrap().unwrap_err());
    eventually("nothing is left of the call", || {
        upstream.stats().total.in_use == 0
    })
    .await;
    let count = client.count(text("one more")).await.unwrap();
    assert_eq!(count.into_inner().number, 2);
    assert_eq!(upstream.stats().opened, 1, "its connection goes on");
}

#[tokio::test]
async fn a_call_that_is_dropped_is_reset_and_the_connection_goes_on() {
    let words = Scripted::default();
    let origin = serve(words.clone()).await;
    let upstream = upstream();
    let mut client = client(&upstream, &origin);

    let split = client.split(text("one stall")).await.unwrap();
    let mut split = split.into_inner();
    assert_eq!(split.message().await.unwrap().unwrap().text, "one");
    let endless = || stream::iter([text("one")]).chain(stream::pending());
    let shouted = client.shout(endless()).await.unwrap();
    let mut shouted = shouted.into_inner();
    assert_eq!(shouted.message().await.unwrap().unwrap().text, "ONE");
    let joined = timeout(Duration::from_millis(100), client.join(endless())).await;
    assert!(joined.is_err(), "this one is dropped before its head");
    drop((split, shouted));
    eventually("the upstream has stopped all three", || words.live() == 0).await;
    every_kind_works(&mut client).await;
    assert_eq!(upstream.stats().opened, 1);
}

#[tokio::test]
async fn what_is_not_read_is_not_asked_for() {
    const WORDS: usize = 512;
    let origin = serve(Scripted::default()).await;
    let upstream = upstream();
    let produced = Arc::new(AtomicUsize::new(0));
    let count = produced.clone();
    // 30 MB there, and 30 MB back.
    let long = stream::iter(0..WORDS).map(move |number| {
        count.fetch_add(1, Ordering::SeqCst);
        text(format!("{number:0>60000}"))
    });
    let mut client = client(&upstream, &origin);
    let mut loud = client.shout(long).await.unwrap().into_inner();
    let mut before = 0;
    while before == 0 || before < produced.load(Ordering::SeqCst) {
        before = produced.load(Ordering::SeqCst);
        sleep(Duration::from_millis(200)).await;
    }
    assert!(
        before < WORDS / 2,
        "with nobody to read the answers, {before} questions were taken"
    );
    for number in 0..WORDS {
        let word = loud.message().await.unwrap().unwrap().text;
        assert_eq!(
            word.trim_start_matches('0'),
            number.to_string().trim_start_matches('0')
        );
        assert_eq!(word.len(), 60_000);
    }
    assert_eq!(loud.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_message_of_four_mebibytes_goes_there_and_back() {
    let origin = serve(Scripted::default()).await;
    let long = "y".repeat(4 << 20);
    let mut client = client(&upstream(), &origin);
    let shouted = client.shout(stream::iter([text(&long)])).await.unwrap();
    let words: Vec<_> = shouted.into_inner().try_collect().await.unwrap();
    assert_eq!(words.len(), 1);
    assert!(words[0].text == "Y".repeat(4 << 20), "every byte of it");
}
