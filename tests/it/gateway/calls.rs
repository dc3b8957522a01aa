//! gRPC through the gateway: HTTP/2 on both sides, by prior knowledge.

use tonic::Code;
use tower_upstream::{AtOrigin, Upstream};

use super::Gateway;
use crate::{
    grpc::words::{Scripted, WordsClient, serve, talk, text},
    support::eventually,
};

/// A generated client of what is under `/proxy`.
pub(super) fn client(gateway: &Gateway) -> WordsClient<AtOrigin> {
    let upstream = Upstream::builder().build().unwrap();
    let channel = upstream.at(gateway.uri("").parse().unwrap());
    WordsClient::with_origin(channel, gateway.uri("/proxy").parse().unwrap())
}

#[tokio::test]
async fn a_bidirectional_stream_passes_word_by_word_and_ends_with_its_status() {
    let origin = serve(Scripted::default()).await;
    let gateway = Gateway::before(&origin, &[]).await;
    for (last, code) in [(None, None), (Some("fail"), Some(Code::DataLoss))] {
        let (sender, words) = talk();
        let mut loud = client(&gateway).shout(words).await.unwrap().into_inner();
        for number in 0..100 {
            let word = format!("word {number}");
            sender.send(text(&word)).unwrap();
            let answer = loud.message().await.unwrap().unwrap();
            assert_eq!(answer.text, word.to_uppercase(), "each before the next");
        }
        if let Some(last) = last {
            sender.send(text(last)).unwrap();
        }
        drop(sender);
        let end = loud.message().await;
        assert_eq!(
            end.as_ref().err().map(|status| status.code()),
            code,
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn a_call_that_its_client_drops_is_reset_at_the_upstream() {
    let words = Scripted::default();
    let origin = serve(words.clone()).await;
    let gateway = Gateway::before(&origin, &[]).await;
    let mut client = client(&gateway);
    let split = client.split(text("one stall")).await.unwrap();
    let mut split = split.into_inner();
    assert_eq!(split.message().await.unwrap().unwrap().text, "one");
    assert_eq!(words.live(), 1);
    drop(split);
    eventually("the upstream has stopped", || words.live() == 0).await;
    let count = client.count(text("a b")).await.unwrap();
    assert_eq!(count.into_inner().number, 2, "and the connections go on");
}
