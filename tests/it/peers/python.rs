//! `Forward` before a Python server.

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::support::{Hypercorn, noise};
use crate::{
    forward::axum,
    support::client::{self, Client, PAIRS},
};

#[tokio::test]
async fn it_is_told_of_the_client_and_nothing_that_is_for_one_hop() {
    let Some(server) = Hypercorn::start(&[]) else {
        return;
    };
    for (client, upstream) in PAIRS {
        let front = axum(server.forward(upstream).name("edge")).await;
        let request = Request::get("/seen")
            .header("te", "trailers")
            .header("x-kept", "1");
        let seen = client::ask(front, client, request, "").await;
        assert_eq!(seen.head.status, 200, "{client:?} {upstream:?}");
        let seen: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let number = |version| {
            if version == Version::HTTP_2 {
                "2"
            } else {
                "1.1"
            }
        };
        assert_eq!(seen["version"], number(upstream), "as was chosen");
        let fields = seen["fields"].as_array().unwrap();
        let lines = |name: &str| -> Vec<_> {
            let lines = fields.iter().filter(|field| field[0] == name);
            lines.map(|field| field[1].as_str().unwrap()).collect()
        };
        assert_eq!(lines("x-kept"), ["1"]);
        assert_eq!(lines("te"), ["trailers"]);
        assert_eq!(lines("via"), [format!("{} edge", number(client))]);
        assert_eq!(lines("host"), [server.address.to_string()]);
        assert_eq!(lines("x-forwarded-host"), [front.to_string()]);
        // Who sends TE names it (RFC 9110 §10.1.4).
        let named: &[&str] = if upstream == Version::HTTP_2 {
            &[]
        } else {
            &["te"]
        };
        assert_eq!(lines("connection"), named);
        for name in ["keep-alive", "transfer-encoding", "content-length"] {
            assert_eq!(lines(name), [""; 0], "{name}: {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_body_of_any_framing_comes_back_to_the_byte() {
    let Some(server) = Hypercorn::start(&[]) else {
        return;
    };
    let large = Bytes::from(noise(4 << 20));
    for (client, upstream) in PAIRS {
        let front = axum(server.forward(upstream)).await;
        let mut client = Client::connect(front, client).await;
        for body in [Bytes::new(), Bytes::from("hello"), large.clone()] {
            let answer = client.ask(Request::post("/echo"), body.clone()).await;
            assert_eq!(answer.head.status, 200);
            assert!(
                answer.body == body,
                "{} of {}",
                answer.body.len(),
                body.len()
            );

            let pieces: Vec<_> = body.chunks(100_000).map(Bytes::copy_from_slice).collect();
            let pieces = pieces
                .into_iter()
                .map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
            let pieces = StreamBody::new(stream::iter(pieces));
            let request = Request::post("/echo").body(pieces).unwrap();
            let answer = client.send(request).await.unwrap().into_body();
            let back = answer.collect().await.unwrap().to_bytes();
            assert!(back == body, "in pieces: {} of {}", back.len(), body.len());
        }
    }
}

#[tokio::test]
async fn answers_without_content_and_conditions_pass() {
    let Some(server) = Hypercorn::start(&[]) else {
        return;
    };
    for (client, upstream) in PAIRS {
        let front = axum(server.forward(upstream)).await;
        let mut client = Client::connect(front, client).await;
        let empty = client.ask(Request::delete("/empty"), "").await;
        assert_eq!((empty.head.status.as_u16(), &*empty.body), (204, &b""[..]));

        let page = client.ask(Request::get("/tagged"), "").await;
        assert_eq!(
            (page.head.status.as_u16(), &*page.body),
            (200, &b"hello"[..])
        );
        let head = client.ask(Request::head("/tagged"), "").await;
        assert_eq!((head.head.status.as_u16(), &*head.body), (200, &b""[..]));
        assert_eq!(head.field("content-length"), Some("5"));
        let tag = page.field("etag").unwrap();
        let request = Request::get("/tagged").header("if-none-match", tag);
        let same = client.ask(request, "").await;
        assert_eq!((same.head.status.as_u16(), &*same.body), (304, &b""[..]));
        assert_eq!(same.field("etag"), Some(tag));
    }
}

#[tokio::test]
async fn trailers_come_through_to_clients_of_either_version() {
    let Some(server) = Hypercorn::start(&[]) else {
        return;
    };
    let front = axum(server.forward(Version::HTTP_2)).await;
    for client in [Version::HTTP_11, Version::HTTP_2] {
        let request = Request::get("/trailed").header("te", "trailers");
        let answer = client::ask(front, client, request, "").await;
        assert_eq!(answer.body, "hello");
        let trailers = answer.trailers.expect("there are trailers");
        assert_eq!(trailers["x-sum"], "5", "{client:?}");
    }
}
