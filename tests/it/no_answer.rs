//! What comes is HTTP, and still no answer: two readers could find two ends to it, or it is to
//! something that nobody asked for.

use http::StatusCode;
use tower_upstream::{Error, ErrorKind, Phase, Upstream};

use crate::support::{Server, frames, sized};

fn assert_is_no_answer(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Protocol, "{what}: {error:?}");
    assert_eq!(error.phase(), Some(Phase::Read), "{what}");
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY, "{what}");
    assert_eq!(error.grpc_code(), 13, "{what}");
    assert!(error.was_sent(), "{what}");
}

/// This head fails its request, and the next one goes over another connection.
async fn assert_refused(head: &'static str) {
    let server = Server::start(move |mut peer| async move {
        while peer.request().await?.is_some() {
            if peer.number == 0 {
                peer.write(format!("{head}\r\n5\r\nhello\r\n0\r\n\r\n"))
                    .await?;
            } else {
                peer.write(sized("fine")).await?;
            }
        }
        Ok(())
    })
    .await;
    let upstream = Upstream::builder().build().unwrap();
    let answer = match upstream.get(server.uri("/")).await {
        Ok(response) => response.into_body().text(100).await,
        Err(error) => Err(error),
    };
    let error = answer.expect_err(head);
    assert_is_no_answer(&error, head);
    let next = upstream.get(server.uri("/")).await.unwrap();
    assert_eq!(next.into_body().text(100).await.unwrap(), "fine", "{head}");
    assert_eq!(server.accepted(), 2, "{head}: its connection has closed");
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_is_no_answer() {
    assert_refused("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n").await;
    assert_refused("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n").await;
}

#[tokio::test]
async fn a_transfer_coding_that_is_not_chunked_alone_is_no_answer() {
    for coding in [
        "gzip, chunked",
        "chunked, identity",
        "identity",
        "chunked, chunked",
        "xchunked",
        "",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n");
        assert_refused(head.leak()).await;
    }
    assert_refused(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    )
    .await;
    assert_refused("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n").await;
}

#[tokio::test]
async fn chunked_is_known_in_any_case() {
    let server = Server::answering(async |_| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding:  Chunked \r\n";
        format!("{head}\r\n5\r\nhello\r\n0\r\n\r\n").into()
    })
    .await;
    let upstream = Upstream::builder().build().unwrap();
    let response = upstream.get(server.uri("/")).await.unwrap();
    assert_eq!(response.into_body().text(100).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_no_answer() {
    assert_refused("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n")
        .await;
}

#[tokio::test]
async fn an_upstream_that_breaks_the_rules_of_http2_sends_no_answer() {
    const MAX_FRAME_SIZE: [u8; 6] = [0, 5, 0, 0, 0, 0];
    let server = Server::start(async |mut peer| {
        frames::accept(&mut peer.stream).await?;
        while let Some(_stream) = frames::request(&mut peer.stream).await? {
            // RFC 9113 §6.5.2: no less than 16384.
            let settings = frames::frame(frames::SETTINGS, 0, 0, MAX_FRAME_SIZE);
            peer.write(settings).await?;
        }
        Ok(())
    })
    .await;
    let builder = Upstream::builder().http2_prior_knowledge();
    let upstream = builder.build().unwrap();
    let error = upstream.get(server.uri("/")).await.unwrap_err();
    assert_is_no_answer(&error, "a frame size of nothing");
}
