//! Group I of the fault cases: malicious clients that speak HTTP/2, frame by frame.

use std::net::SocketAddr;

use http::Version;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tower_upstream::Limits;

use super::{
    faults::in_protocol,
    support::{Echo, PATIENCE, axum, forward, get, status},
};
use crate::{
    faults,
    support::{
        Server, echo, eventually,
        frames::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, data},
        sized,
        trial::Trial,
    },
};

/// The first byte of a head: the status, where HPACK's static table has it.
const STATUS_400: u8 = 0x80 | 12;

/// How a request ended that the client sent as frames.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Reset,
    Goaway,
    Closed,
    /// A response, whose head begins with this byte.
    Head(u8),
}

async fn send(front: SocketAddr, request: &[u8]) -> End {
    let mut socket = TcpStream::connect(front).await.unwrap();
    frames::connect(&mut socket).await.unwrap();
    socket.write_all(request).await.unwrap();
    let answer = timeout(PATIENCE, frames::next(&mut socket)).await;
    match answer.expect("there is an answer") {
        Ok(Some(frame)) if frame.kind == HEADERS => End::Head(frame.payload[0]),
        Ok(Some(frame)) if frame.kind == RST_STREAM => End::Reset,
        Ok(Some(frame)) if frame.kind == GOAWAY => End::Goaway,
        Ok(None) | Err(_) => End::Closed,
        Ok(Some(frame)) => panic!("not in answer to a request: {frame:?}"),
    }
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

const PLAIN: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/"),
];

/// A request with one of these changed.
fn with<'a>(name: &str, value: &'a str) -> Fields<'a> {
    let change = |&(n, v): &(&'static str, &'static str)| (n, if n == name { value } else { v });
    PLAIN.iter().map(change).collect()
}

/// A request with this field more.
fn and<'a>(name: &'a str, value: &'a str) -> Fields<'a> {
    let mut fields = PLAIN.to_vec();
    fields.push((name, value));
    fields
}

/// None of them is answered with anything but a refusal, and none reaches an upstream.
async fn are_refused(requests: Vec<Fields<'_>>) {
    let echo = Echo::start().await;
    let front = axum(echo.forward()).await;
    for fields in requests {
        let end = send(front, &frames::headers(1, &fields, true)).await;
        let is_refusal = matches!(end, End::Reset | End::Goaway | End::Closed);
        assert!(
            is_refusal || end == End::Head(STATUS_400),
            "{fields:?}: {end:?}"
        );
        assert_eq!(echo.take().len(), 0, "{fields:?} reaches no upstream");
    }
    assert_eq!(status(&get(front, "").await), "200", "the next is served");
    echo.over().await;
}

#[tokio::test]
async fn i1_a_stream_that_says_how_http1_would_end_it_is_refused() {
    are_refused(vec![
        and("transfer-encoding", "chunked"),
        and("transfer-encoding", "identity"),
        and("content-length", "5"),
        and("content-length", "+0"),
        and("content-length", "0x0"),
        and("content-length", "0,1"),
        [and("content-length", "0"), vec![("content-length", "5")]].concat(),
        and("te", "gzip"),
    ])
    .await;
}

#[tokio::test]
async fn i1_a_body_that_is_not_as_long_as_it_says_never_looks_complete_upstream() {
    let echo = Echo::start().await;
    let front = axum(echo.forward()).await;
    let fields = [with(":method", "POST"), vec![("content-length", "5")]].concat();
    let head = frames::headers(1, &fields, false);
    for body in [data(1, "hell", true), data(1, "hello!", true)] {
        let end = send(front, &[head.clone(), body].concat()).await;
        assert_eq!(end, End::Reset);
        eventually("it is given up", || echo.server.open() == 0).await;
        assert_eq!(echo.take().len(), 0, "no request has come whole");
    }
    let whole = [head, data(1, "hello", true)].concat();
    assert!(matches!(send(front, &whole).await, End::Head(_)));
    assert_eq!(echo.one().body, b"hello");
    echo.over().await;
}

#[tokio::test]
async fn i2_what_is_of_one_connection_is_refused() {
    are_refused(vec![
        and(
            "connection",
            "x-forwarded-for, authorization, host, content-length, te",
        ),
        and("connection", "close"),
        and("keep-alive", "timeout=5"),
        and("proxy-connection", "keep-alive"),
        and("upgrade", "websocket"),
    ])
    .await;
}

#[tokio::test]
async fn i4_no_control_character_gets_through_in_any_field() {
    let mut requests = Vec::new();
    for bad in [
        "/\r\nx: y",
        "/\nx: y",
        "/\rx",
        "/\0",
        "/ HTTP/1.1\r\nhost: b\r\n\r\nGET /",
    ] {
        requests.extend([
            and("x", bad),
            and(bad, "x"),
            with(":path", bad),
            with(":authority", bad),
            with(":method", bad),
            with(":scheme", bad),
        ]);
    }
    for bad in ["", "a", "/a b", "a://b/", "\u{7f}"] {
        requests.push(with(":path", bad));
    }
    requests.extend([
        with(":method", ""),
        with(":method", "GE T"),
        with(":scheme", "h ttp"),
        and("X", "upper case"),
        and("", "nameless"),
        and("a b", "x"),
        and("a:", "x"),
        and(":path", "/twice"),
        and(":status", "200"),
        and(":unknown", "x"),
        vec![
            ("x", "before"),
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
        ],
        PLAIN[1..].to_vec(),
        PLAIN[..3].to_vec(),
    ]);
    are_refused(requests).await;
}

#[tokio::test]
async fn i5_an_authority_that_can_be_read_in_two_ways_is_refused() {
    let mut requests: Vec<_> = [
        "a@b",
        "a,b",
        "a b",
        "a/b",
        "[fe80::1%25eth0]",
        "xn--example-.org",
        "a:99999",
    ]
    .map(|bad| with(":authority", bad))
    .into();
    requests.extend([
        and("host", "b"),
        [and("host", "a"), vec![("host", "a")]].concat(),
        with(":authority", ""),
    ]);
    are_refused(requests).await;
}

#[tokio::test]
async fn i7_a_head_whose_end_does_not_come_holds_no_connection() {
    let echo = Echo::start().await;
    let front = axum(echo.forward()).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut socket = TcpStream::connect(front).await.unwrap();
        frames::connect(&mut socket).await.unwrap();
        let head = frames::frame(HEADERS, END_STREAM, 1, frames::block(&PLAIN));
        socket.write_all(&head).await.unwrap();
        slow.push(socket);
    }
    assert_eq!(status(&get(front, "").await), "200", "others are served");
    assert_eq!(echo.take().len(), 1, "and nobody else has come through");
    assert_eq!(echo.server.peak(), 1);
    drop(slow);
    echo.over().await;
}

#[tokio::test]
async fn i8_unusual_methods_and_targets_are_defined() {
    let echo = Echo::start().await;
    let front = axum(echo.forward()).await;
    let ask = async |fields: Fields<'_>| send(front, &frames::headers(1, &fields, true)).await;
    let tunnel = vec![(":method", "CONNECT"), (":authority", "a:443")];
    let websocket = [with(":method", "CONNECT"), vec![(":protocol", "websocket")]].concat();
    for refused in [
        tunnel,
        websocket,
        with(":method", "TRACE"),
        with(":path", "*"),
    ] {
        let end = ask(refused.clone()).await;
        assert_ne!(end, End::Head(0x88), "no 200: {refused:?}");
        assert_eq!(echo.take().len(), 0, "{refused:?}");
    }
    let whole_server = vec![
        (":method", "OPTIONS"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "*"),
    ];
    ask(whole_server).await;
    assert_eq!(echo.one().path(), "*");

    let with_body = [frames::headers(1, &PLAIN, false), data(1, "hello", true)].concat();
    send(front, &with_body).await;
    let request = echo.one();
    assert_eq!((request.method(), &*request.body), ("GET", &b"hello"[..]));
    echo.over().await;
}

/// Ten thousand streams, each reset as soon as it is opened.
async fn reset_rapidly(front: SocketAddr) {
    for _ in 0..100 {
        let mut socket = TcpStream::connect(front).await.unwrap();
        frames::connect(&mut socket).await.unwrap();
        let mut burst = Vec::new();
        for n in 0..100 {
            let stream = 2 * n + 1;
            let block = frames::block(&PLAIN);
            burst.extend(frames::frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                stream,
                block,
            ));
            burst.extend(frames::reset(stream, h2::Reason::CANCEL));
        }
        // The server may have had enough before that.
        let _ = socket.write_all(&burst).await;
    }
}

#[tokio::test]
async fn i10_ten_thousand_streams_reset_at_once_leave_nothing_behind() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let limits = Limits::new().max_connections(4);
        let builder = faults::builder().limits(limits);
        let trial = Trial::capped(4, in_protocol(builder, version)).await;
        let server = trial.server(echo::serve_either).await;
        let front = axum(trial.upstream.forward_to(server.uri("/").parse().unwrap())).await;
        reset_rapidly(front).await;
        let response = get(front, "").await;
        assert_eq!(status(&response), "200", "{version:?}: {response}");
        trial.over([server]).await;
    }
}

#[tokio::test]
async fn a_request_in_frames_reaches_the_upstream_when_nothing_is_wrong_with_it() {
    // What the refusals above are worth.
    let server = Server::answering(|_| async { sized("ok") }).await;
    let front = axum(forward(&server)).await;
    let end = send(front, &frames::headers(1, &PLAIN, true)).await;
    assert_eq!(end, End::Head(0x88), "it is a 200");
    assert_eq!(server.requests(), 1);
}
