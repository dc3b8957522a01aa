//! Group C: the head of a response.

use http::StatusCode;
use tokio::time::{Instant, sleep};
use tower_upstream::{ErrorKind, Phase};

use super::{SHORT, assert_failed, builder, patient};
use crate::support::{echo, header, sized, trial::Trial};

/// The answer to a GET, and that its connection is not used again.
async fn assert_refused(answer: impl Into<Vec<u8>>, kind: ErrorKind, grpc: i32) {
    let answer = answer.into();
    let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
    let trial = Trial::start(builder()).await;
    let server = trial.saying(answer).await;
    let error = trial.get(server.uri("/fault")).await;
    let error = error.expect_err(&shown);
    assert_failed(&error, kind, Phase::Read, 502, grpc);
    assert!(error.was_sent(), "{shown}");
    trial.over([server]).await;
}

async fn assert_no_http(answer: &str) {
    assert_refused(answer, ErrorKind::Protocol, 13).await;
}

#[tokio::test]
async fn c1_garbage_is_no_answer() {
    assert_no_http("garbage\r\n\r\n").await;
    assert_refused([0xff; 100], ErrorKind::Protocol, 13).await;
}

#[tokio::test]
async fn c2_a_version_of_the_future_is_no_answer() {
    assert_no_http("HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n").await;
}

#[tokio::test]
async fn c3_a_body_without_a_head_is_no_answer() {
    assert_no_http("<html>as HTTP/0.9 had it</html>").await;
}

#[tokio::test]
async fn c4_a_status_that_is_none_is_no_answer() {
    assert_no_http("HTTP/1.1 000 X\r\ncontent-length: 0\r\n\r\n").await;
    assert_no_http("HTTP/1.1 1000 X\r\ncontent-length: 0\r\n\r\n").await;
    assert_no_http("HTTP/1.1 2x0 X\r\ncontent-length: 0\r\n\r\n").await;
}

#[tokio::test]
async fn c5_a_head_above_the_limits_is_too_large() {
    let fields = "x: y\r\n".repeat(101);
    let too_many = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
    assert_refused(too_many, ErrorKind::HeadTooLarge, 13).await;
    let too_long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert_refused(too_long, ErrorKind::HeadTooLarge, 13).await;
}

#[tokio::test]
async fn c5_a_head_without_an_end_is_too_large_before_it_fills_the_memory() {
    let trial = Trial::start(builder()).await;
    let watch = trial.watch();
    let server = trial
        .faulty(move |mut peer, _| {
            let watch = watch.clone();
            async move {
                peer.write("HTTP/1.1 200 OK\r\n").await?;
                loop {
                    peer.write(format!("x: {}\r\n", "y".repeat(100_000)))
                        .await?;
                    watch.look();
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
    let error = trial.fails(server.uri("/fault")).await;
    assert_failed(&error, ErrorKind::HeadTooLarge, Phase::Read, 502, 13);
    trial.over([server]).await;
}

#[tokio::test]
async fn c6_a_head_byte_by_byte_is_a_read_timeout() {
    let trial = Trial::start(builder().timeouts(patient().read(SHORT))).await;
    let server = trial
        .faulty(|mut peer, _| async move {
            loop {
                peer.write("H").await?;
                sleep(SHORT / 10).await;
                for byte in "TTP/1.1 200 OK\r\n".bytes().chain(std::iter::repeat(b'x')) {
                    peer.write([byte]).await?;
                    sleep(SHORT / 10).await;
                }
            }
        })
        .await;
    let start = Instant::now();
    let error = trial.fails(server.uri("/fault")).await;
    assert_failed(&error, ErrorKind::ReadTimeout, Phase::Read, 504, 4);
    assert!(start.elapsed() >= SHORT, "the time is for the whole head");
    trial.over([server]).await;
}

#[tokio::test]
async fn c7_no_byte_of_an_answer_is_a_read_timeout() {
    let trial = Trial::start(builder().timeouts(patient().read(SHORT))).await;
    let server = trial.saying("").await;
    let start = Instant::now();
    let error = trial.fails(server.uri("/fault")).await;
    assert_failed(&error, ErrorKind::ReadTimeout, Phase::Read, 504, 4);
    assert!(start.elapsed() >= SHORT, "and not before");
    trial.over([server]).await;
}

#[tokio::test]
async fn c8_a_kept_connection_that_ends_before_the_head_is_tried_once_more_for_a_get_alone() {
    for method in ["GET", "POST"] {
        let trial = Trial::start(builder()).await;
        let server = trial
            .server(|mut peer| async move {
                if peer.number == 0 {
                    let first = peer.request().await?.unwrap();
                    peer.write(sized(first.id())).await?;
                    peer.request().await?;
                    peer.fault();
                    return Ok(());
                }
                echo::serve(peer).await
            })
            .await;
        trial.get(server.uri("/")).await.unwrap();
        if method == "GET" {
            trial.get(server.uri("/")).await.unwrap();
            assert_eq!(server.seen().len(), 3, "once more");
        } else {
            let error = trial.post(server.uri("/")).await.unwrap_err();
            assert_failed(&error, ErrorKind::Closed, Phase::Read, 502, 14);
            assert!(error.was_sent());
            assert_eq!(server.seen().len(), 2, "not once more");
        }
        trial.over([server]).await;
    }
}

#[tokio::test]
async fn c8_a_fresh_connection_that_ends_before_the_head_is_an_error_at_once() {
    let trial = Trial::start(builder()).await;
    let server = trial.faulty(|peer, _| async { Err(peer.reset()) }).await;
    let error = trial.fails(server.uri("/fault")).await;
    assert_failed(&error, ErrorKind::Closed, Phase::Read, 502, 14);
    assert_eq!(server.seen().len(), 1, "sent once");
    trial.over([server]).await;
}

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";

#[tokio::test]
async fn c9_a_thousand_interim_answers_are_passed_over() {
    let trial = Trial::start(builder()).await;
    let continues = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let server = trial
        .server(move |mut peer| {
            let interim = format!("{}{continues}", HINT.repeat(1000));
            async move {
                while let Some(request) = peer.request().await? {
                    peer.write(&interim).await?;
                    peer.write(sized(request.id())).await?;
                }
                Ok(())
            }
        })
        .await;
    trial.get(server.uri("/")).await.unwrap();
    trial.over([server]).await;
}

#[tokio::test]
async fn c9_interim_answers_without_an_end_are_a_read_timeout_in_bounded_memory() {
    let trial = Trial::start(builder().timeouts(patient().read(SHORT))).await;
    let watch = trial.watch();
    let server = trial
        .faulty(move |mut peer, _| {
            let watch = watch.clone();
            async move {
                loop {
                    peer.write(HINT.repeat(1000)).await?;
                    watch.look();
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
    let error = trial.fails(server.uri("/fault")).await;
    assert_failed(&error, ErrorKind::ReadTimeout, Phase::Read, 504, 4);
    trial.over([server]).await;
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

#[tokio::test]
async fn c10_a_change_of_protocol_that_nobody_asked_for_is_no_answer() {
    assert_no_http(SWITCH).await;
}

#[tokio::test]
async fn c11_a_200_to_an_upgrade_is_a_response_like_any_other() {
    let trial = Trial::start(builder()).await;
    let server = trial.server(echo::serve).await;
    let request = trial
        .request("GET", &server.uri("/"))
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    let request = request.body(String::new()).unwrap();
    let response = trial.upstream.send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.into_body().text(100).await.unwrap(), "request-0");
    assert_eq!(trial.upstream.stats().total.upgraded, 0, "no tunnel");
    trial.over([server]).await;
}

#[tokio::test]
async fn c12_a_length_that_can_be_read_in_two_ways_is_no_answer() {
    for framing in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: +5\r\n",
        "content-length: 5 5\r\n",
        "content-length: 0x5\r\n",
        "content-length: -5\r\n",
        "content-length: 18446744073709551621\r\n",
        "content-length:\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
    ] {
        assert_no_http(&format!("HTTP/1.1 200 OK\r\n{framing}\r\nabcdef")).await;
    }
    let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    assert_no_http(old).await;
}

#[tokio::test]
async fn c13_a_field_that_is_none_is_no_answer() {
    for field in [
        "x: a\0b",
        "x: a\rb",
        "x: a\x0bb",
        "x: a\r\n b",
        "x\r\n: b",
        ": b",
        " x: b",
        "x : b",
        "x",
        "x y: b",
    ] {
        assert_no_http(&format!(
            "HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
    }
}

#[tokio::test]
async fn c14_a_refusal_before_the_body_is_delivered_and_the_next_request_works() {
    const BODY: usize = 1 << 20;
    for (fields, reads_on) in [("", true), ("connection: close\r\n", false)] {
        let trial = Trial::start(builder()).await;
        let server = trial
            .server(move |mut peer| async move {
                while let Some(head) = peer.head().await? {
                    if head.starts_with("GET") {
                        peer.write(sized(header(&head, "x-id").unwrap())).await?;
                        continue;
                    }
                    let status = "HTTP/1.1 417 Expectation Failed";
                    let response = format!("{status}\r\n{fields}content-length: 2\r\n\r\nno");
                    peer.write(response).await?;
                    if !reads_on {
                        peer.fault();
                    }
                    peer.drain(BODY).await?;
                }
                Ok(())
            })
            .await;
        for _ in 0..3 {
            let request = trial.request("POST", &server.uri("/"));
            let request = request.header("expect", "100-continue");
            let request = request.body("x".repeat(BODY)).unwrap();
            let response = trial.upstream.send(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::EXPECTATION_FAILED);
            assert_eq!(response.into_body().text(10).await.unwrap(), "no");
            trial.get(server.uri("/")).await.unwrap();
        }
        trial.over([server]).await;
    }
}
