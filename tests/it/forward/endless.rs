//! Group D of the fault cases where bodies go on and on: an upstream of either version, a client of
//! either version.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use async_compression::{
    Level,
    codecs::{EncodeV2, GzipEncoder},
    core::util::{PartialBuffer, WriteBuffer},
};
use axum::{
    Router,
    body::Body,
    response::Response,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Version};
use http_body_util::{Empty, StreamBody};
use hyper::body::Frame;
use tokio::time::sleep;
use tower::Layer;
use tower_upstream::{Forward, Limits, Timeouts, Truncate, Uncuttable};

use super::{
    faults::{Seen, in_protocol, see},
    support::axum,
};
use crate::{
    faults,
    support::{
        client::{Client, PAIRS},
        eventually, sockets,
        trial::Trial,
    },
    wire,
};

/// A body of this piece for ever, with a pause before each.
fn forever(piece: impl Into<Bytes>, pause: Duration) -> Body {
    let pieces = stream::unfold(piece.into(), move |piece| async move {
        sleep(pause).await;
        Some((Ok::<_, Infallible>(piece.clone()), piece))
    });
    Body::from_stream(pieces)
}

fn coded(coding: &str, body: Body) -> Response {
    Response::builder()
        .header("content-type", "text/plain")
        .header("content-encoding", coding)
        .body(body)
        .unwrap()
}

/// An upstream of both versions.
async fn upstream() -> SocketAddr {
    let drip = || forever("x", Duration::from_millis(10));
    let flood = || forever(vec![b'x'; 1 << 14], Duration::ZERO);
    let text = |body| ([("content-type", "text/plain")], body);
    let bomb = gzip(&"x".repeat(1 << 20));
    let app = Router::new()
        .route("/drip", get(async move || text(drip())))
        .route("/flood", get(async move || text(flood())))
        .route("/ten", get(async move || text(Body::from("0123456789"))))
        .route("/accented", get(async move || text(accented())))
        .route(
            "/nested",
            get(async || coded(&["gzip"; 50].join(", "), Body::from("secret"))),
        )
        .route(
            "/bomb",
            get(async move || coded("gzip", forever(bomb.clone(), Duration::ZERO))),
        )
        .route("/members", get(async || coded("gzip", members())))
        .route("/length", post(async |body: Bytes| body.len().to_string()));
    wire::serve(app).await
}

/// "aéb", a byte a piece.
fn accented() -> Body {
    let bytes = "aéb".bytes().map(|byte| Ok::<_, Infallible>(vec![byte]));
    Body::from_stream(stream::iter(bytes))
}

/// Two members of three characters each.
fn members() -> Body {
    Body::from([gzip("one"), gzip("two")].concat())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut coded = vec![0; text.len() + 1024];
    let mut output = WriteBuffer::new_initialized(&mut coded);
    let mut codec = GzipEncoder::new(Level::Best.into());
    let mut input = PartialBuffer::new(text.as_bytes());
    while !input.unwritten().is_empty() {
        codec.encode(&mut input, &mut output).unwrap();
    }
    while !codec.finish(&mut output).unwrap() {}
    let written = output.written_len();
    coded.truncate(written);
    coded
}

/// One pair of versions, and a handle of one connection.
struct Case {
    client: Version,
    trial: Trial,
    address: SocketAddr,
}

impl Case {
    async fn start((client, version): (Version, Version), timeouts: Timeouts) -> Self {
        let limits = Limits::new().max_connections(1);
        let builder = faults::builder().limits(limits).timeouts(timeouts);
        let trial = Trial::capped(1, in_protocol(builder, version)).await;
        let address = upstream().await;
        trial.count_sockets_to(address);
        Self {
            client,
            trial,
            address,
        }
    }

    fn forward(&self) -> Forward {
        let origin = format!("http://{}", self.address);
        self.trial.upstream.forward_to(origin.parse().unwrap())
    }

    async fn front(&self) -> SocketAddr {
        axum(self.forward()).await
    }

    /// What is seen of a path that is cut.
    async fn cut(&self, truncate: Truncate, path: &str) -> Seen {
        let front = axum(truncate.layer().layer(self.forward())).await;
        let request = Request::get(path).header("te", "trailers");
        see(front, self.client, request.body(Empty::new()).unwrap()).await
    }

    async fn is_free(&self, name: &str) {
        eventually(&format!("{name}: {:?}: it is free", self.client), || {
            self.trial.upstream.stats().total.in_use == 0
        })
        .await;
    }
}

fn impatient() -> Timeouts {
    Timeouts::default().total(Duration::from_millis(400))
}

#[tokio::test]
async fn d6_a_body_that_drips_for_ever_is_cut_off_by_the_total_timeout() {
    for pair in PAIRS {
        let case = Case::start(pair, impatient()).await;
        let request = Request::get("/drip").body(Empty::new()).unwrap();
        let seen = see(case.front().await, case.client, request).await;
        assert_eq!(seen.status(), 200, "{seen:?}");
        assert!(!seen.body.is_empty(), "it had begun: {seen:?}");
        assert!(!seen.is_whole, "it does not look whole: {seen:?}");
        case.is_free("d6").await;
        case.trial.over([]).await;
    }
}

#[tokio::test]
async fn d14_a_client_that_reads_nothing_holds_its_connection_no_longer_than_the_total_timeout() {
    for pair in PAIRS {
        let case = Case::start(pair, impatient()).await;
        let mut client = Client::connect(case.front().await, case.client).await;
        let request = Request::get("/flood").body(Empty::<Bytes>::new()).unwrap();
        let unread = client.send(request).await.unwrap();
        case.is_free("d14").await;
        assert_eq!(case.trial.upstream.stats().timed_out_total, 1);
        drop(unread);
        case.trial.over([]).await;
    }
}

#[tokio::test]
async fn i7_a_request_whose_end_does_not_come_holds_its_connection_no_longer_than_the_total_timeout()
 {
    for pair in PAIRS {
        let case = Case::start(pair, impatient()).await;
        let mut client = Client::connect(case.front().await, case.client).await;
        // A body is passed on as it comes, so its request has its connection from the head on.
        let begun = stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from("begun"))) });
        let body = StreamBody::new(begun.chain(stream::pending()));
        let request = Request::post("/length").body(body).unwrap();
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), 504, "{response:?}");
        case.is_free("i7").await;
        drop((client, response));
        case.trial.over([]).await;
    }
}

#[tokio::test]
async fn d7_an_endless_body_is_cut_at_the_limit_and_nobody_reads_on() {
    for pair in PAIRS {
        let case = Case::start(pair, faults::patient()).await;
        let seen = case.cut(Truncate::bytes(1000), "/flood").await;
        assert!(seen.is_whole && seen.status() == 200, "{seen:?}");
        assert_eq!(seen.body, [b'x'; 1000]);
        let mark = seen.trailers.get("content-truncated");
        let mark = mark.map(|mark| mark.as_bytes());
        assert_eq!(mark, Some(&b"length;limit=1000;unit=byte"[..]), "{seen:?}");
        case.is_free("d7").await;
        let stats = case.trial.upstream.stats();
        assert_eq!((stats.cut_and_closed, stats.cut_and_reused), (1, 0));
        if case.client == Version::HTTP_11 {
            let seen = case.cut(Truncate::bytes(1000), "/ten").await;
            assert_eq!(seen.body, b"0123456789", "there is room for the next");
        }
        case.trial.over([]).await;
    }
}

#[tokio::test]
async fn d8_only_what_is_longer_than_the_limit_is_marked_and_the_connection_is_kept_in_any_case() {
    for pair in PAIRS {
        let case = Case::start(pair, faults::patient()).await;
        for limit in [0, 9, 10, 11] {
            let seen = case.cut(Truncate::bytes(limit), "/ten").await;
            let length = limit.min(10);
            assert!(seen.is_whole, "{limit}: {seen:?}");
            assert_eq!(seen.body.len() as u64, length, "{limit}: {seen:?}");
            assert_eq!(seen.lines("content-length"), [length.to_string()]);
            let mark = format!("length;limit={limit};unit=byte;size=10");
            let marks: &[&str] = if limit < 10 { &[&mark] } else { &[] };
            assert_eq!(seen.lines("content-truncated"), marks, "{limit}: {seen:?}");
            case.is_free("d8").await;
        }
        assert_eq!(
            case.trial.upstream.stats().opened,
            1,
            "ten bytes are soon read"
        );
        case.trial.over([]).await;
    }
}

#[tokio::test]
async fn d9_a_cut_inside_a_character_a_chunk_or_a_coding_is_the_same_each_time() {
    for pair in PAIRS {
        let case = Case::start(pair, faults::patient()).await;
        for (limit, path, text) in [
            (1, "/accented", "a"),
            (2, "/accented", "aé"),
            (3, "/accented", "aéb"),
            (2, "/members", "on"),
            (3, "/members", "one"),
            (4, "/members", "onet"),
            (9, "/members", "onetwo"),
        ] {
            let seen = case.cut(Truncate::chars(limit), path).await;
            assert!(seen.is_whole, "{limit} of {path}: {seen:?}");
            assert_eq!(seen.body, text.as_bytes(), "{limit} of {path}");
        }
        case.trial.over([]).await;
    }
}

#[tokio::test]
async fn d10_a_bomb_is_decoded_no_further_than_the_limit() {
    for pair in PAIRS {
        let case = Case::start(pair, faults::patient()).await;
        let before = sockets::memory_of(std::process::id());
        let seen = case.cut(Truncate::bytes(3_000_000), "/bomb").await;
        assert!(seen.is_whole && seen.status() == 200, "{:?}", seen.head);
        assert_eq!(seen.body.len(), 3_000_000, "three members, and no more");
        case.is_free("d10").await;
        let growth = sockets::memory_of(std::process::id()).saturating_sub(before);
        assert!(growth < 64 << 20, "memory grew by {growth} bytes");
        case.trial.over([]).await;
    }
}

#[tokio::test]
async fn d11_codings_upon_codings_are_passed_on_unread_or_refused() {
    for pair in PAIRS {
        let case = Case::start(pair, faults::patient()).await;
        let seen = case.cut(Truncate::bytes(3), "/nested").await;
        assert_eq!(seen.body, b"secret", "nobody here has looked into it");
        assert_eq!(seen.lines("content-truncated"), [""; 0], "nor cut it");

        let refusing = Truncate::bytes(3).uncuttable(Uncuttable::Refuse);
        let seen = case.cut(refusing, "/nested").await;
        assert_eq!(seen.status(), 502, "{seen:?}");
        assert_ne!(seen.body, b"secret");
        case.is_free("d11").await;
        case.trial.over([]).await;
    }
}
