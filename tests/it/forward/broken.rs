//! Groups C, D and J of the fault cases where they are about framing: an upstream of either version,
//! a client of either version.

use futures_util::future::join_all;
use http::{Request, Version, request::Builder};
use http_body_util::Empty;
use tower_upstream::Upstream;

use super::{
    faults::{Fault, Seen, in_version, see},
    support::axum,
};
use crate::support::{
    Server,
    frames::{self, data, ok, reset},
};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";

fn get() -> Builder {
    Request::get("/")
}

/// Whatever the client gets of it, it is not a response that looks whole.
fn is_cut(name: &str, seen: &Seen) {
    let looks_whole = seen.status() == 200 && seen.is_whole;
    assert!(!looks_whole, "{name}: to {:?}: {seen:?}", seen.client);
}

/// A 502 of ours, that tells nothing of the upstream.
fn is_refused(name: &str, seen: &Seen) {
    assert_eq!(seen.status(), 502, "{name}: {seen:?}");
    assert!(seen.is_whole, "{name}: {seen:?}");
    let text = String::from_utf8_lossy(&seen.body);
    assert!(text.starts_with("upstream "), "{name}: {text}");
    assert!(!format!("{seen:?}").contains("secret"), "{name}: {seen:?}");
    assert!(!text.contains("127.0.0.1"), "{name}: {text}");
    assert!(
        seen.lines("proxy-status")[0].contains("; error="),
        "{name}: {seen:?}"
    );
}

#[tokio::test]
async fn d1_to_d5_a_body_that_breaks_off_never_looks_whole_to_either_client() {
    let extensions = format!("{CHUNKED}5;{}\r\nworld\r\n0\r\n\r\n", "x".repeat(17 << 10));
    for fault in [
        Fault::http1("d1", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun").close(),
        Fault::http1("d2: no last chunk", CHUNKED).close(),
        Fault::http1("d3: no chunk size", format!("{CHUNKED}xyz\r\n")).spoils(),
        Fault::http1(
            "d3: a size over 64 bits",
            format!("{CHUNKED}1ffffffffffffffff\r\n"),
        )
        .spoils(),
        Fault::http1("d4: endless extensions", extensions).spoils(),
        Fault::http1("d5: reset", CHUNKED).reset(),
    ] {
        for seen in fault.seen_by_both(get()).await {
            is_cut(fault.name, &seen);
        }
    }
}

#[tokio::test]
async fn d1_to_d5_a_stream_that_breaks_off_never_looks_whole_to_either_client() {
    let (begun, short) = (ok(1, &[]), ok(1, &[("content-length", "100")]));
    let (begun, short) = (begun.as_slice(), short.as_slice());
    let piece = data(1, "begun", false);
    let padded = frames::frame(frames::DATA, frames::PADDED, 1, [200, 0, 0]);
    let nobodys = data(0, "begun", false);
    for fault in [
        Fault::http2("d1: short of its length", [short, &data(1, "begun", true)]),
        Fault::http2("d1: no data at all", [short, &data(1, "", true)]),
        Fault::http2("d1: past its length", [short, &data(1, [b'x'; 101], true)]),
        Fault::http2("d2: closed", [begun, &piece]).close(),
        Fault::http2("d3: more padding than frame", [begun, &piece, &padded]).spoils(),
        Fault::http2("d3: data on no stream", [begun, &piece, &nobodys]).spoils(),
        Fault::http2("d5: connection reset", [begun, &piece]).reset(),
        Fault::http2(
            "d5: failed",
            [begun, &piece, &reset(1, h2::Reason::INTERNAL_ERROR)],
        ),
        Fault::http2(
            "d5: cancelled",
            [begun, &piece, &reset(1, h2::Reason::CANCEL)],
        ),
        Fault::http2(
            "d5: reset in its length",
            [short, &piece, &reset(1, h2::Reason::NO_ERROR)],
        ),
        Fault::http2(
            "d5: reset for no reason",
            [begun, &piece, &reset(1, h2::Reason::NO_ERROR)],
        ),
    ] {
        for seen in fault.seen_by_both(get()).await {
            is_cut(fault.name, &seen);
        }
    }
}

#[tokio::test]
async fn c_a_head_that_is_no_http2_is_a_502_and_nothing_of_it_is_forwarded() {
    let head = |fields: &[(&str, &str)]| frames::headers(1, fields, true);
    let with = |name, value| head(&[(":status", "200"), (name, value)]);
    let huge = "x".repeat(1 << 20);
    for fault in [
        Fault::http2("no status", [head(&[("x", "secret")])]),
        Fault::http2(
            "two statuses",
            [head(&[(":status", "200"), (":status", "secret")])],
        ),
        Fault::http2("a status that is none", [head(&[(":status", "secret")])]),
        Fault::http2(
            "a pseudo-header at the end",
            [head(&[("x", "secret"), (":status", "200")])],
        ),
        Fault::http2("an upper-case name", [with("X-Secret", "secret")]),
        Fault::http2("an empty name", [with("", "secret")]),
        Fault::http2("j3: connection", [with("connection", "secret")]),
        Fault::http2("j3: keep-alive", [with("keep-alive", "secret")]),
        Fault::http2(
            "j3: transfer-encoding",
            [with("transfer-encoding", "chunked")],
        ),
        Fault::http2("j3: upgrade", [with("upgrade", "secret")]),
        Fault::http2(
            "j4: a line end",
            [with("set-cookie", "a=b\r\nlocation: secret")],
        ),
        Fault::http2("j4: half a line end", [with("location", "/\nsecret: 1")]),
        Fault::http2("j4: a null", [with("location", "/\0secret")]),
        Fault::http2(
            "j4: a name with a line end",
            [with("x\r\nlocation", "secret")],
        ),
        Fault::http2("c5: a head without bounds", [with("x", &huge)]),
        Fault::http2("data before any head", [data(1, "secret", true)]),
        Fault::http2("c10: 101", [head(&[(":status", "101"), ("x", "secret")])]),
        Fault::http2("reset", [reset(1, h2::Reason::INTERNAL_ERROR)]),
    ] {
        for seen in fault.seen_by_both(get()).await {
            is_refused(fault.name, &seen);
        }
    }
}

#[tokio::test]
async fn j2_a_second_response_on_a_stream_is_nobodys() {
    let (first, second) = (ok(1, &[("content-length", "5")]), ok(1, &[]));
    for fault in [
        Fault::http2(
            "after the end",
            [
                &first,
                &data(1, "whole", true),
                &second,
                &data(1, "secret", true),
            ],
        ),
        Fault::http2(
            "on a stream of its own",
            [
                &first,
                &data(1, "whole", true),
                &ok(3, &[]),
                &data(3, "secret", true),
            ],
        ),
        Fault::http2(
            "pushed",
            [
                &first,
                &data(1, "whole", true),
                &push(),
                &ok(2, &[]),
                &data(2, "secret", true),
            ],
        ),
    ] {
        for seen in fault.seen_by_both(get()).await {
            assert_eq!(seen.status(), 200, "{}: {seen:?}", fault.name);
            assert_eq!(seen.body, b"whole", "{}: {seen:?}", fault.name);
        }
    }
}

/// Stream 2 is promised to be `/secret`.
fn push() -> Vec<u8> {
    let mut payload = 2u32.to_be_bytes().to_vec();
    payload.extend(frames::block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/secret"),
    ]));
    frames::frame(frames::PUSH_PROMISE, frames::END_HEADERS, 1, payload)
}

#[tokio::test]
async fn j6_what_only_concerns_the_upstreams_own_address_is_not_passed_on() {
    let origin = frames::frame(frames::ALTSVC, 0, 1, b"\0\0h3=\":443\"");
    let head = ok(1, &[("alt-svc", "h3=\":443\""), ("x-kept", "1")]);
    let fault = Fault::http2("alt-svc", [origin, head, data(1, "whole", true)]);
    for seen in fault.seen_by_both(get()).await {
        assert!(seen.is_whole && seen.body == b"whole", "{seen:?}");
        assert_eq!(seen.lines("alt-svc"), [""; 0], "{seen:?}");
        assert_eq!(seen.lines("x-kept"), ["1"], "{seen:?}");
    }
}

#[tokio::test]
async fn j5_a_location_is_passed_on_and_not_followed() {
    let inside = "http://169.254.169.254/latest/";
    let fields = [(":status", "302"), ("location", inside)];
    for fault in [
        Fault::http1(
            "http1",
            format!("HTTP/1.1 302 Found\r\nlocation: {inside}\r\ncontent-length: 0\r\n\r\n"),
        ),
        Fault::http2("http2", [frames::headers(1, &fields, true)]),
    ] {
        for seen in fault.seen_by_both(get()).await {
            assert_eq!(seen.status(), 302, "{seen:?}");
            assert_eq!(seen.lines("location"), [inside], "the client's to judge");
        }
    }
}

#[tokio::test]
async fn d12_bytes_behind_a_response_without_a_body_are_nobodys_to_either_client() {
    let secret = data(1, "secret", true);
    let head = |status| frames::headers(1, &[(":status", status)], false);
    for (method, fault) in [
        (
            "HEAD",
            Fault::http1("head", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").spoils(),
        ),
        (
            "GET",
            Fault::http1("204", "HTTP/1.1 204 No Content\r\n\r\nsecret").spoils(),
        ),
        (
            "GET",
            Fault::http1("304", "HTTP/1.1 304 Not Modified\r\n\r\nsecret").spoils(),
        ),
        ("HEAD", Fault::http2("head", [&head("200"), &secret])),
        ("GET", Fault::http2("204", [&head("204"), &secret])),
        ("GET", Fault::http2("304", [&head("304"), &secret])),
    ] {
        for seen in fault
            .seen_by_both(Request::builder().method(method).uri("/"))
            .await
        {
            assert!(
                !format!("{seen:?}").contains("secret"),
                "{method} {}: {seen:?}",
                fault.name
            );
            assert_eq!(seen.body, b"", "{method} {}: {seen:?}", fault.name);
        }
    }
}

/// An upstream whose first connection takes four requests, says that it looks at the first two only,
/// and serves those. Its second does the same with two and one. Its third serves all.
async fn leaving() -> Server {
    Server::start(|mut peer| async move {
        frames::accept(&mut peer.stream).await?;
        let taken = [4, 2].get(peer.number);
        let mut streams = Vec::new();
        while let Some(stream) = frames::request(&mut peer.stream).await? {
            streams.push(stream);
            if let Some(&taken) = taken {
                if streams.len() < taken {
                    continue;
                }
                streams.truncate(taken / 2);
                let last = streams.last().copied().unwrap_or_default();
                let last_and_reason = [last.to_be_bytes(), [0; 4]].concat();
                peer.write(frames::frame(frames::GOAWAY, 0, 0, last_and_reason))
                    .await?;
            }
            for stream in streams.drain(..) {
                peer.write(ok(stream, &[])).await?;
                peer.write(data(stream, "whole", true)).await?;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn e1_what_a_goaway_says_was_not_looked_at_is_sent_elsewhere() {
    let server = leaving().await;
    let upstream = in_version(Upstream::builder(), Version::HTTP_2);
    let front = axum(upstream.forward_to(server.uri("/").parse().unwrap())).await;
    let answers = (0..4).map(|_| {
        let request = get().body(Empty::new()).unwrap();
        see(front, Version::HTTP_11, request)
    });
    for seen in join_all(answers).await {
        assert!(seen.is_whole && seen.body == b"whole", "{seen:?}");
    }
    assert_eq!(server.accepted(), 3);
}
