//! Case I1: requests that two readers would end differently. Each hides another request where one of
//! them would look for the next. Where it is not refused, exactly one has come to the upstream, of
//! which every reader would say the same.

use super::support::{Echo, fronts, lines, send, status};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// What is made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Refused,
    /// It is refused, or it has this body.
    AtMost(&'static str),
    Is(&'static str),
}

use Outcome::{AtMost, Is, Refused};

/// Sends it, with another request behind it, and looks at what has come.
async fn assert_is(echo: &Echo, front: std::net::SocketAddr, request: &[u8], outcome: Outcome) {
    let shown = String::from_utf8_lossy(request);
    let response = send(front, [request, SMUGGLED.as_bytes()].concat()).await;
    let came = echo.take();
    if status(&response) != "200" {
        assert!(!matches!(outcome, Is(_)), "{shown:?}: {response}");
        assert!(status(&response).starts_with('4'), "{shown:?}: {response}");
        assert_eq!(came.len(), 0, "{shown:?} reaches no upstream");
        return;
    }
    let (Is(body) | AtMost(body)) = outcome else {
        panic!("{shown:?} is passed on: {came:?}")
    };
    let [request] = &came[..] else {
        panic!("{shown:?} is one request, and not {came:?}")
    };
    assert_eq!(request.path(), "/outer", "{shown:?}");
    assert_eq!(request.body, body.as_bytes(), "{shown:?}");
    let length = lines(&request.head, "content-length");
    let coding = lines(&request.head, "transfer-encoding");
    let ways = (&length[..], &coding[..]);
    let is_clear = ways == (&[&*body.len().to_string()], &[]) || ways == (&[], &["chunked"]);
    assert!(is_clear, "{shown:?}: {:?}", request.head);
}

async fn all(requests: impl IntoIterator<Item = (String, Outcome)>) {
    let echo = Echo::start().await;
    let fronts = fronts(echo.forward()).await;
    for (request, outcome) in requests {
        for front in fronts {
            assert_is(&echo, front, request.as_bytes(), outcome).await;
        }
    }
    echo.over().await;
}

/// Fields in front of the body "hello".
const LENGTHS: &[(&str, Outcome)] = &[
    ("content-length: 5", Is("hello")),
    ("content-length: 5\r\ncontent-length: 5", AtMost("hello")),
    ("content-length: 5, 5", AtMost("hello")),
    ("content-length: 05", AtMost("hello")),
    ("content-length: 5\r\ncontent-length: 6", Refused),
    ("content-length: 5\r\ncontent-length: 0", Refused),
    ("content-length: 5,6", Refused),
    ("content-length: +5", Refused),
    ("content-length: -0", Refused),
    ("content-length: -5", Refused),
    ("content-length: 0x5", Refused),
    ("content-length: 5e0", Refused),
    ("content-length: 5_0", Refused),
    ("content-length: 5 0", Refused),
    ("content-length: 5;", Refused),
    ("content-length: \"5\"", Refused),
    ("content-length: \u{ff15}", Refused),
    ("content-length: 5\x0b", Refused),
    ("content-length: 5\0", Refused),
    ("content-length: 18446744073709551621", Refused),
    ("content-length: ", Refused),
    ("content-length", Refused),
    ("content-length : 5", Refused),
    ("content-length\t: 5", Refused),
    (" content-length: 5", Refused),
    ("\tcontent-length: 5", Refused),
    ("x: y\r\n content-length: 5", Refused),
    ("content-length:\r\n 5", Refused),
    ("content-length\0: 5", Refused),
    (": 5", Refused),
];

/// Fields in front of the same in a chunk.
const CODINGS: &[(&str, Outcome)] = &[
    ("transfer-encoding: chunked", Is("hello")),
    ("Transfer-Encoding:CHUNKED", Is("hello")),
    (
        "transfer-encoding: chunked\r\ntransfer_encoding: x",
        AtMost("hello"),
    ),
    (
        "transfer-encoding: chunked\r\ncontent-length: 5",
        AtMost("hello"),
    ),
    (
        "content-length: 3\r\ntransfer-encoding: chunked",
        AtMost("hello"),
    ),
    ("transfer-encoding: ,chunked", AtMost("hello")),
    ("transfer-encoding: chunked,", AtMost("hello")),
    ("transfer-encoding: chunked \t", AtMost("hello")),
    ("transfer-encoding: identity", Refused),
    ("transfer-encoding: xchunked", Refused),
    ("transfer-encoding: chunkedx", Refused),
    ("transfer-encoding: chunked;q=1", Refused),
    ("transfer-encoding: \"chunked\"", Refused),
    ("transfer-encoding: 'chunked'", Refused),
    ("transfer-encoding: chunked, identity", Refused),
    ("transfer-encoding: chunked, gzip", Refused),
    ("transfer-encoding: gzip, chunked", Refused),
    ("transfer-encoding: identity, chunked", Refused),
    ("transfer-encoding: chunked, chunked", Refused),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        Refused,
    ),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: x",
        Refused,
    ),
    (
        "transfer-encoding: x\r\ntransfer-encoding: chunked",
        Refused,
    ),
    ("transfer-encoding: chun\u{212a}ed", Refused),
    ("transfer-encoding:\x0bchunked", Refused),
    ("transfer-encoding: chunked\x0b", Refused),
    ("transfer-encoding: chunked\0", Refused),
    ("transfer-encoding:\r\n chunked", Refused),
    ("transfer-encoding\t: chunked", Refused),
    ("transfer-encoding : chunked", Refused),
    ("x: y\rtransfer-encoding: chunked", Refused),
    ("transfer-encoding:", Refused),
];

#[tokio::test]
async fn i1_a_length_or_a_coding_that_two_readers_would_read_differently_is_refused_or_made_clear()
{
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let with = |(fields, body, outcome): (&str, &str, Outcome)| {
        let line = "POST /outer HTTP/1.1\r\nhost: a\r\nconnection: close";
        (format!("{line}\r\n{fields}\r\n\r\n{body}"), outcome)
    };
    let lengths = LENGTHS
        .iter()
        .map(|&(fields, outcome)| with((fields, "hello", outcome)));
    let codings = CODINGS
        .iter()
        .map(|&(fields, outcome)| with((fields, chunks, outcome)));
    all(lengths.chain(codings)).await;
}

#[tokio::test]
async fn i1_chunks_that_two_readers_would_read_differently_are_refused_or_made_clear() {
    let line = "POST /outer HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked";
    all([
        ("5\r\nhello\r\n0\r\n\r\n", Is("hello")),
        ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", Is("hello")),
        ("5;a=b\r\nhello\r\n0\r\n\r\n", AtMost("hello")),
        ("5;a=\"\r\nhello\r\n0\r\n\r\n", AtMost("hello")),
        ("5 \r\nhello\r\n0\r\n\r\n", AtMost("hello")),
        ("0005\r\nhello\r\n0000\r\n\r\n", AtMost("hello")),
        (
            "5\r\nhello\r\n0\r\ncontent-length: 9\r\n\r\n",
            AtMost("hello"),
        ),
        (
            "5\r\nhello\r\n0\r\ntransfer-encoding: x\r\n\r\n",
            AtMost("hello"),
        ),
        ("5\nhello\r\n0\r\n\r\n", Refused),
        ("5\rhello\r\n0\r\n\r\n", Refused),
        ("5\r\r\nhello\r\n0\r\n\r\n", Refused),
        ("5;\nhello\r\n0\r\n\r\n", Refused),
        ("5;a\nhello\r\n0\r\n\r\n", Refused),
        ("5\r\nhello0\r\n\r\n", Refused),
        ("5\r\nhello\n0\r\n\r\n", Refused),
        ("5\r\nhelloXX0\r\n\r\n", Refused),
        ("5\r\n\r\nhello\r\n0\r\n\r\n", Refused),
        ("0x5\r\nhello\r\n0\r\n\r\n", Refused),
        ("+5\r\nhello\r\n0\r\n\r\n", Refused),
        ("-5\r\nhello\r\n0\r\n\r\n", Refused),
        (" 5\r\nhello\r\n0\r\n\r\n", Refused),
        ("5_\r\nhello\r\n0\r\n\r\n", Refused),
        ("\u{ff15}\r\nhello\r\n0\r\n\r\n", Refused),
        ("\r\nhello\r\n0\r\n\r\n", Refused),
        (";\r\nhello\r\n0\r\n\r\n", Refused),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", Refused),
        ("5\r\nhello\r\n0\n\r\n", AtMost("hello")),
        ("5\r\nhello\r\n0\r\n\n", AtMost("hello")),
        ("5\r\nhello\r\n0\r\nx: a\0b\r\n\r\n", Refused),
    ]
    .map(|(chunks, outcome)| (format!("{line}\r\n\r\n{chunks}"), outcome)))
    .await;
}

#[tokio::test]
async fn i1_a_request_line_that_two_readers_would_read_differently_is_refused_or_made_clear() {
    let rest = "\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    let lines = [
        ("POST /outer HTTP/1.1", Is("hello")),
        ("\r\nPOST /outer HTTP/1.1", AtMost("hello")),
        ("\nPOST /outer HTTP/1.1", AtMost("hello")),
        ("POST /outer HTTP/1.0", AtMost("hello")),
        (" POST /outer HTTP/1.1", Refused),
        ("POST  /outer HTTP/1.1", Refused),
        ("POST\t/outer\tHTTP/1.1", Refused),
        ("POST /outer  HTTP/1.1", Refused),
        ("POST /outer HTTP/1.1 ", Refused),
        ("POST /outer HTTP/1.1 HTTP/1.1", Refused),
        ("POST /outer HTTP/1.2", Refused),
        ("POST /outer HTTP/2.0", Refused),
        ("POST /outer HTTP/01.1", Refused),
        ("POST /outer HTTP/1.1\x0b", Refused),
        ("POST /outer http/1.1", Refused),
        ("POST /outer", Refused),
        ("POST HTTP/1.1", Refused),
        ("P\u{d6}ST /outer HTTP/1.1", Refused),
        ("POST:/outer HTTP/1.1", Refused),
    ];
    let old = "POST /outer HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n";
    let returns = "POST /outer HTTP/1.1\rhost: a\rcontent-length: 5\r\rhello";
    let feeds = "POST /outer HTTP/1.1\nhost: a\nconnection: close\ncontent-length: 5\n\nhello";
    let lines = lines.map(|(line, outcome)| (format!("{line}{rest}"), outcome));
    all(lines.into_iter().chain([
        (old.to_owned(), Refused),
        (returns.to_owned(), Refused),
        (feeds.to_owned(), AtMost("hello")),
    ]))
    .await;
}
