//! gRPC by a client that is not Rust: Python's grpcio, through the gateway.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::pending, stream};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio::{net::TcpListener, process::Command, sync::mpsc, time::sleep};
use tonic::transport::{Server, server::TcpIncoming};
use tower_upstream::Truncate;

use super::Gateway;
use crate::{
    grpc::words::{self, Scripted, origin, text},
    http2,
    support::{self, peers},
};

/// Words of the upstream's `Split`, which `fail` and `stall` at those.
async fn call(python: &Path, gateway: &Gateway, words: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/grpc_call.py");
    let target = gateway.address.to_string();
    let arguments = [script, &target, "/proxy/words.Words/Split", words];
    let output = Command::new(python)
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = output.await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"))
}

#[track_caller]
fn assert_seen(seen: &Value, words: &[&str], code: u64, details: &str) {
    let all = (&seen["words"], &seen["code"], &seen["details"]);
    assert_eq!(*all.0, Value::from(words), "{seen}");
    assert_eq!(*all.1, Value::from(code), "{seen}");
    assert_eq!(*all.2, Value::from(details), "{seen}");
}

/// `b"\0\0\0\0"`, the length, and a message of one word.
fn message(word: &str) -> Bytes {
    let length = u8::try_from(word.len()).unwrap();
    let mut message = vec![0, 0, 0, 0, length + 2, 10, length];
    message.extend_from_slice(word.as_bytes());
    message.into()
}

#[tokio::test]
async fn an_upstream_without_a_place_or_without_a_life_is_told_by_its_code() {
    let Some(python) = peers::find_in_python("python") else {
        return;
    };
    let words = words::serve(Scripted::default()).await;
    let flags = ["--max-in-flight", "1", "--max-admission-pending", "0"];
    let gateway = Gateway::before(&words, &flags).await;
    let seen = call(&python, &gateway, "one two").await;
    assert_seen(&seen, &["one", "two"], 0, "");
    let mut first = super::calls::client(&gateway);
    let _open = first.split(text("stall")).await.unwrap();
    let seen = call(&python, &gateway, "one two").await;
    assert_seen(&seen, &[], 8, "too many requests are waiting");

    let gateway = Gateway::before(&"http://127.0.0.1:1", &[]).await;
    let seen = call(&python, &gateway, "one two").await;
    assert_seen(&seen, &[], 14, "upstream refused the connection");
}

#[tokio::test]
async fn a_timeout_before_it_was_sent_may_be_tried_again_and_one_after_may_not() {
    let Some(python) = peers::find_in_python("python") else {
        return;
    };
    let silent = support::Server::start(|mut peer| async move {
        peer.closed().await;
        Ok(())
    })
    .await;
    let flags = ["--connect-timeout", "200ms"];
    let gateway = Gateway::before(&silent.uri(""), &flags).await;
    let seen = call(&python, &gateway, "one").await;
    assert_seen(&seen, &[], 14, "upstream connect timed out");

    let words = words::serve(Scripted::default()).await;
    let gateway = Gateway::before(&words, &["--read-timeout", "500ms"]).await;
    let seen = call(&python, &gateway, "one stall").await;
    assert_seen(&seen, &["one"], 4, "upstream read timed out");
}

#[tokio::test]
async fn a_status_and_what_came_with_it_arrive_whole() {
    let Some(python) = peers::find_in_python("python") else {
        return;
    };
    let words = words::serve(Scripted::default()).await;
    let gateway = Gateway::before(&words, &[]).await;
    let seen = call(&python, &gateway, "one fail two").await;
    assert_seen(&seen, &["one"], 15, words::REASON);
    assert_eq!(seen["trailers"]["x-word"], "fail");

    let whole = http2::serve(100, async |_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("x-sum", HeaderValue::from_static("17"));
        let frames = [
            Frame::data(message("one")),
            Frame::data(message("two")),
            Frame::trailers(trailers),
        ];
        respond(stream::iter(frames))
    })
    .await;
    let gateway = Gateway::before(&whole.uri(""), &[]).await;
    let seen = call(&python, &gateway, "").await;
    assert_seen(&seen, &["one", "two"], 0, "");
    assert_eq!(
        seen["trailers"]["x-sum"], "17",
        "of a stream that is not cut"
    );
}

#[tokio::test]
async fn a_stream_that_is_cut_or_breaks_off_does_not_look_whole() {
    let Some(python) = peers::find_in_python("python") else {
        return;
    };
    let (two, three) = (&["one", "two"][..], &["one", "two", "three"][..]);
    for (cut, passing, code, details) in [
        (
            Truncate::grpc_messages(2),
            two,
            8,
            "the response has more messages than its limit",
        ),
        (Truncate::grpc_messages(2).take(), two, 0, ""),
        (Truncate::grpc_messages(3), three, 0, ""),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = origin(listener.local_addr().unwrap());
        let mut server = Server::builder().layer(cut.layer());
        let server = server.add_service(words::server(Scripted::default()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let gateway = Gateway::before(&origin, &[]).await;
        let seen = call(&python, &gateway, "one two three").await;
        assert_seen(&seen, passing, code, details);
    }

    let (said, mut all_said) = mpsc::unbounded_channel();
    let breaking = http2::serve(100, move |_| {
        let said = said.clone();
        let rest = stream::once(async move {
            said.send(()).unwrap();
            pending().await
        });
        let first = stream::iter([Frame::data(message("one"))]);
        std::future::ready(respond(first.chain(rest)))
    })
    .await;
    let gateway = Gateway::before(&breaking.uri(""), &[]).await;
    let breaks_off = async {
        all_said.recv().await.unwrap();
        // What was said is on its way by then.
        sleep(Duration::from_millis(300)).await;
        drop(breaking);
    };
    let (seen, ()) = tokio::join!(call(&python, &gateway, ""), breaks_off);
    assert_seen(&seen, &["one"], 14, "upstream response broke off");
}

fn respond(frames: impl Stream<Item = Frame<Bytes>> + Send + 'static) -> Response<http2::Body> {
    let body = StreamBody::new(frames.map(Ok)).boxed_unsync();
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body).unwrap()
}
