use http::{Response, StatusCode};
use http_body::Body as _;

use super::support::{Script, header, read, truncation};
use crate::{
    Invalid, Truncate, TruncateBody, Truncation, TruncationOutcome as Outcome, Uncuttable,
};

type Headers<'a> = [(&'static str, &'a str); 2];

const NONE: (&str, &str) = ("x-other", "1");

fn apply(truncate: &Truncate, headers: Headers<'_>) -> Response<TruncateBody<Script>> {
    truncate.apply(Script::chunks(["abcdefghij"]).with(headers))
}

/// It passes as it is by default, and is refused when the policy says so.
fn assert_uncuttable(truncate: &Truncate, headers: Headers<'_>) {
    assert_passes(truncate, headers);
    let response = apply(&truncate.clone().uncuttable(Uncuttable::Refuse), headers);
    let status = response.status();
    assert_eq!(
        status,
        StatusCode::BAD_GATEWAY,
        "it is refused: {headers:?}"
    );
    assert_eq!(
        header(&response, "x-other"),
        None,
        "nothing of it passes: {headers:?}"
    );
    assert_eq!(
        truncation(&response).outcome(),
        Outcome::Refused,
        "which is told"
    );
    let text = String::from_utf8(read(response.into_body()).bytes()).unwrap();
    assert!(text.contains("too long"), "in plain words: {text}");
}

fn assert_passes(truncate: &Truncate, headers: Headers<'_>) {
    let response = apply(truncate, headers);
    assert_eq!(
        response.headers().len(),
        2,
        "no header changes: {headers:?}"
    );
    let told = response.extensions().get::<Truncation>().is_some();
    assert!(!told, "nothing is told of what passes: {headers:?}");
    let bytes = read(response.into_body()).bytes();
    assert_eq!(bytes, b"abcdefghij", "it passes: {headers:?}");
}

fn assert_cut(truncate: &Truncate, headers: Headers<'_>) {
    let response = apply(&truncate.clone().uncuttable(Uncuttable::Refuse), headers);
    assert_eq!(
        read(response.into_body()).bytes(),
        b"abcd",
        "it is cut: {headers:?}"
    );
}

#[test]
fn a_charset_cannot_be_counted_without_its_decoder() {
    // Row 31. No decoder of the web's knows the last two.
    let web = [
        "shift_jis",
        "UTF-16",
        "gb18030",
        "iso-2022-jp",
        "euc-kr",
        "big5",
    ];
    let web = web.into_iter().filter(|_| !cfg!(feature = "charset"));
    for charset in web.chain(["utf-32", "utf-7"]) {
        let content_type = format!("text/plain; charset={charset}");
        assert_uncuttable(&Truncate::chars(4), [("content-type", &content_type), NONE]);
        assert_cut(&Truncate::bytes(4), [("content-type", &content_type), NONE]);
    }
}

#[test]
fn an_unknown_coding_cannot_be_cut() {
    // Row 37.
    for coding in ["dcb", "aes128gcm"] {
        let headers = [("content-type", "text/plain"), ("content-encoding", coding)];
        assert_uncuttable(&Truncate::bytes(4), headers);
        assert_uncuttable(&Truncate::chars(4).any_type(), headers);
    }
}

#[test]
fn partial_content_of_any_other_shape_cannot_be_cut() {
    // Row 61.
    let chars = Truncate::chars(4);
    let bytes = Truncate::bytes(4);
    let odd = [
        "bytes 0-8/10",
        "bytes 5-4/10",
        "lines 0-9/10",
        "bytes */10",
        "bytes 0-9",
    ];
    let cases = odd.map(|range| (&bytes, range)).into_iter();
    for (truncate, range) in cases.chain([(&chars, "bytes 0-9/20")]) {
        let body = Script::chunks(["abcdefghij"]).sized();
        let mut response = body.with([("content-type", "text/plain"), ("content-range", range)]);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let response = truncate.apply(response);
        assert_eq!(
            header(&response, "content-range"),
            Some(range),
            "{range} stays"
        );
        assert_eq!(
            read(response.into_body()).bytes().len(),
            10,
            "{range} passes whole"
        );
    }
    let multipart = ("content-type", "multipart/byteranges; boundary=x");
    let mut response = Script::chunks(["abcdefghij"]).with([multipart]);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let response = bytes.any_type().apply(response);
    assert_eq!(
        read(response.into_body()).bytes().len(),
        10,
        "several ranges pass whole"
    );
}

#[test]
fn no_transform_is_obeyed_by_a_gateway_and_does_not_bind_an_origin() {
    // Row 66.
    let headers = [
        ("content-type", "text/plain"),
        ("cache-control", "public, No-Transform"),
    ];
    assert_uncuttable(&Truncate::bytes(4).obey_no_transform(), headers);
    assert_cut(&Truncate::bytes(4), headers);
}

#[test]
fn an_event_stream_cannot_be_cut() {
    // Row 67. A unit of events (row 68) is not part of this release.
    assert_uncuttable(
        &Truncate::chars(4),
        [("content-type", "text/event-stream"), NONE],
    );
}

#[test]
fn a_type_that_needs_its_end_is_cut_only_when_any_type_is() {
    // Rows 70 and 71.
    for kind in [
        "multipart/mixed; boundary=x",
        "image/png",
        "application/octet-stream",
        "application/json",
    ] {
        assert_uncuttable(&Truncate::bytes(4), [("content-type", kind), NONE]);
        assert_cut(
            &Truncate::bytes(4).any_type(),
            [("content-type", kind), NONE],
        );
        assert_cut(
            &Truncate::chars(4).any_type(),
            [("content-type", kind), NONE],
        );
    }
}

#[test]
fn grpc_and_grpc_web_are_never_cut_by_bytes_or_characters() {
    // Rows 91, 93 and 94: a cut inside a message is a loss that nobody notices. From outside, the
    // frames of gRPC-Web (its trailers among them) are content; inside its layer we see gRPC.
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "application/grpc-web-text",
    ] {
        assert_passes(
            &Truncate::bytes(4).any_type(),
            [("content-type", kind), NONE],
        );
        assert_passes(
            &Truncate::chars(4).any_type(),
            [("content-type", kind), NONE],
        );
    }
}

#[test]
fn what_is_known_to_be_within_the_limit_is_never_refused() {
    for kind in [
        "image/png",
        "text/event-stream",
        "application/grpc",
        "text/plain; charset=utf-16",
    ] {
        let truncate = Truncate::chars(10).uncuttable(Uncuttable::Refuse);
        let body = Script::chunks(["abcdefghij"]).sized();
        let response = truncate.apply(body.with([("content-type", kind)]));
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{kind} of ten bytes is within ten"
        );
        assert_eq!(
            read(response.into_body()).bytes().len(),
            10,
            "{kind} passes"
        );
    }
}

#[test]
fn joined_text_takes_any_type_as_text() {
    let joined = Truncate::chars(3)
        .any_type()
        .any_status()
        .invalid(Invalid::Replace);
    let headers = [("content-type", "application/octet-stream")];
    let body = Script::chunks([&b"\xef\xbb\xbfa\xff"[..], b"bcd"]);
    let response = joined.apply(body.with(headers));
    assert_eq!(
        read(response.into_body()).bytes(),
        "a\u{FFFD}b".as_bytes(),
        "cut and cleaned"
    );
}

#[test]
fn the_coding_of_a_part_is_not_taken_off() {
    let gzip = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    let mut part = Script::chunks(["abcdefghij"]).sized().with(gzip);
    *part.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = "bytes 0-9/20".parse().unwrap();
    part.headers_mut().insert("content-range", range);
    let response = Truncate::bytes(4).apply(part);
    assert_eq!(header(&response, "content-encoding"), Some("gzip"));
    assert_eq!(
        read(response.into_body()).bytes(),
        b"abcdefghij",
        "it cannot be decoded by itself"
    );
}

#[test]
fn messages_are_coded_each_by_itself_and_never_as_a_whole() {
    let grpc = [
        ("content-type", "application/grpc"),
        ("content-encoding", "gzip"),
    ];
    let messages = Truncate::grpc_messages(1);
    assert_passes(&messages, grpc);
    let response = apply(&messages.uncuttable(Uncuttable::Refuse), grpc);
    assert_eq!(header(&response, "grpc-status"), Some("8"), "it is refused");
}

#[test]
fn a_refusal_says_how_long_it_is() {
    let image = [("content-type", "image/png"), NONE];
    let response = apply(&Truncate::bytes(4).uncuttable(Uncuttable::Refuse), image);
    let exact = response.body().size_hint().exact();
    let text = read(response.into_body()).bytes();
    assert_eq!(exact, Some(text.len() as u64));
}
