//! Group J of the fault cases where it is about gRPC, and trailers: an upstream of either version, a
//! client of either version.

use http::{Request, Version, request::Builder};

use super::faults::{Fault, Seen};
use crate::support::frames::{self, data, headers, ok};

const GRPC: [(&str, &str); 1] = [("content-type", "application/grpc")];

fn call() -> Builder {
    Request::post("/package.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// A call that got these trailers after one message, over HTTP/2.
fn trailed(name: &'static str, trailers: &[(&str, &str)]) -> Fault {
    let last = headers(1, trailers, true);
    Fault::http2(name, [ok(1, &GRPC), data(1, [0; 5], false), last])
}

/// The values of a trailer.
fn lines<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    let lines = seen.trailers.get_all(name).iter();
    lines.map(|line| line.to_str().unwrap()).collect()
}

#[tokio::test]
async fn j7_what_is_wrong_with_a_status_is_the_clients_to_judge() {
    for (name, trailers) in [
        (
            "duplicated",
            &[("grpc-status", "0"), ("grpc-status", "5")][..],
        ),
        ("out of range", &[("grpc-status", "99999")]),
        ("no number", &[("grpc-status", "good")]),
        ("missing", &[("x-sum", "1")]),
    ] {
        for seen in trailed(name, trailers).seen_by_both(call()).await {
            assert!(seen.is_whole && seen.status() == 200, "{name}: {seen:?}");
            let sent: Vec<_> = trailers
                .iter()
                .filter(|field| field.0 == "grpc-status")
                .collect();
            // hyper's server sends no trailer over HTTP/1.1 that the head did not announce.
            if seen.client != Version::HTTP_2 {
                continue;
            }
            let came = lines(&seen, "grpc-status");
            assert!(
                came.iter().eq(sent.iter().map(|field| &field.1)),
                "{name}: as it was sent: {seen:?}"
            );
        }
    }
    let none = Fault::http2("no trailers", [ok(1, &GRPC), data(1, [0; 5], true)]);
    for seen in none.seen_by_both(call()).await {
        assert!(
            seen.is_whole && seen.trailers.is_empty(),
            "nothing is made up: {seen:?}"
        );
    }
    let fields = [(":status", "200"), GRPC[0], ("grpc-status", "5")];
    let twice = Fault::http2(
        "in head and trailers",
        [
            headers(1, &fields, false),
            headers(1, &[("grpc-status", "0")], true),
        ],
    );
    let [over_http1, over_http2] = twice.seen_by_both(call()).await;
    assert_eq!(over_http1.lines("grpc-status"), ["5"], "{over_http1:?}");
    assert_eq!(over_http2.lines("grpc-status"), ["5"], "{over_http2:?}");
    assert_eq!(lines(&over_http2, "grpc-status"), ["0"], "{over_http2:?}");
}

#[tokio::test]
async fn j8_an_html_page_in_answer_to_a_call_passes_as_what_it_is() {
    let head = ok(1, &[("content-type", "text/html")]);
    let page = Fault::http2("html", [head, data(1, "<p>no</p>", true)]);
    for seen in page.seen_by_both(call()).await {
        assert!(seen.is_whole && seen.status() == 200, "{seen:?}");
        assert_eq!(seen.lines("content-type"), ["text/html"], "{seen:?}");
        assert_eq!(seen.lines("grpc-status"), [""; 0], "{seen:?}");
        assert_eq!(seen.body, b"<p>no</p>");
    }
}

/// A call that failed, however it is told: in the head, or after a body; or it did not come whole.
fn has_failed(name: &str, seen: &Seen) {
    let told = seen
        .head
        .as_ref()
        .and_then(|head| head.headers.get("grpc-status"));
    let told = told.or_else(|| seen.trailers.get("grpc-status"));
    assert!(
        !seen.is_whole || told.is_some_and(|status| status != "0"),
        "{name}: to {:?}: {seen:?}",
        seen.client
    );
}

#[tokio::test]
async fn j9_a_message_of_ten_megabytes_is_read_no_further_than_its_bound() {
    let huge = "%41".repeat(10 << 20 >> 2);
    let before = crate::support::sockets::memory_of(std::process::id());
    let in_head = [
        (":status", "200"),
        GRPC[0],
        ("grpc-status", "0"),
        ("grpc-message", &huge),
    ];
    for fault in [
        trailed(
            "in the trailers",
            &[("grpc-status", "0"), ("grpc-message", &huge)],
        ),
        Fault::http2("in the head", [headers(1, &in_head, true)]),
    ] {
        for seen in fault.seen_by_both(call()).await {
            has_failed(fault.name, &seen);
            assert!(
                !seen.trailers.contains_key("grpc-message")
                    || lines(&seen, "grpc-message")[0].len() < 100
            );
        }
    }
    let growth = crate::support::sockets::memory_of(std::process::id()).saturating_sub(before);
    assert!(growth < 128 << 20, "memory grew by {growth} bytes");
}

#[tokio::test]
async fn d13_trailers_of_either_upstream_come_to_either_client_and_the_forbidden_do_not() {
    let sent = [
        ("x-sum", "2"),
        ("set-cookie", "a=b"),
        ("content-length", "3"),
        ("host", "b"),
    ];
    let lines_of_http1: String = sent
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .concat();
    for fault in [
        Fault::http1(
            "http1",
            format!(
                "HTTP/1.1 200 OK\r\ntrailer: x-sum, set-cookie\r\ntransfer-encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\n{lines_of_http1}\r\n"
            ),
        ),
        Fault::http2(
            "http2",
            [
                ok(1, &[("trailer", "x-sum, set-cookie")]),
                data(1, "hello", false),
                headers(1, &sent, true),
            ],
        ),
    ] {
        for seen in fault
            .seen_by_both(Request::get("/").header("te", "trailers"))
            .await
        {
            assert!(
                seen.is_whole && seen.body == b"hello",
                "{}: {seen:?}",
                fault.name
            );
            assert_eq!(lines(&seen, "x-sum"), ["2"], "{}: {seen:?}", fault.name);
            assert_eq!(seen.trailers.len(), 1, "{}: {seen:?}", fault.name);
        }
    }
}

#[tokio::test]
async fn d13_a_thousand_trailers_are_no_more_than_the_bound_of_a_head() {
    let names: Vec<_> = (0..1000).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let text: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
    let begun =
        "HTTP/1.1 200 OK\r\ntrailer: x-0\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    for fault in [
        Fault::http1("http1", format!("{begun}{text}\r\n")),
        Fault::http2(
            "http2",
            [ok(1, &[]), data(1, "hello", false), headers(1, &many, true)],
        ),
    ] {
        for seen in fault
            .seen_by_both(Request::get("/").header("te", "trailers"))
            .await
        {
            // As HTTP/2 counts them (RFC 9113 §6.5.2).
            let size = |(name, _): (&http::HeaderName, _)| name.as_str().len() + 1 + 32;
            let came: usize = seen.trailers.iter().map(size).sum();
            assert!(came <= 16 << 10, "{}: {came} bytes", fault.name);
            assert!(fault.name == "http2" || !seen.is_whole, "{seen:?}");
        }
    }
}

#[tokio::test]
async fn a_call_that_breaks_off_is_told_in_trailers_where_there_can_be_some() {
    let half = || [ok(1, &GRPC), data(1, [0, 0, 0], false)];
    let reset = |reason| [half().concat(), frames::reset(1, reason)];
    for fault in [
        Fault::http2("closed", half()).close(),
        Fault::http2("failed", reset(h2::Reason::INTERNAL_ERROR)),
        Fault::http2("cancelled", reset(h2::Reason::CANCEL)),
        Fault::http2("reset for no reason", reset(h2::Reason::NO_ERROR)),
    ] {
        for seen in fault.seen_by_both(call()).await {
            has_failed(fault.name, &seen);
            if seen.client == Version::HTTP_2 {
                assert_eq!(
                    lines(&seen, "grpc-status"),
                    ["14"],
                    "{}: {seen:?}",
                    fault.name
                );
            }
        }
    }
}
