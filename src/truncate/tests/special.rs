//! Methods and statuses whose responses are not simply content.

use http::{Method, Response, StatusCode};
use http_body::Body as _;

use super::support::{Script, finish, header, read};
use crate::{Truncate, Truncation};

fn long() -> Script {
    Script::chunks(["abcdefghij"]).sized()
}

fn with_status(status: u16, response: Response<Script>) -> Response<Script> {
    let (mut head, body) = response.into_parts();
    head.status = StatusCode::from_u16(status).unwrap();
    Response::from_parts(head, body)
}

#[test]
fn a_proxied_head_gets_the_headers_of_the_get() {
    // Row 56.
    let head = |limit, length: &'static str| {
        let mut response = Script::chunks([""; 0]).sized().text();
        response
            .headers_mut()
            .insert("content-length", length.parse().unwrap());
        response
            .headers_mut()
            .insert("etag", "\"x\"".parse().unwrap());
        let body = Truncate::apply_to(&limit, &Method::HEAD, response);
        assert!(
            body.extensions().get::<Truncation>().is_none(),
            "there is no body to tell of"
        );
        assert!(body.body().is_end_stream(), "there is no body");
        body
    };
    let response = head(Truncate::bytes(4), "10");
    assert_eq!(
        header(&response, "content-length"),
        Some("4"),
        "bytes: the lesser of both"
    );
    assert_eq!(header(&response, "etag"), None, "the tag was the whole's");
    let response = head(Truncate::bytes(10), "10");
    assert_eq!(
        header(&response, "content-length"),
        Some("10"),
        "bytes: the lesser of both"
    );
    let response = head(Truncate::chars(10), "10");
    assert_eq!(
        header(&response, "content-length"),
        Some("10"),
        "chars: within the limit"
    );
    assert_eq!(header(&response, "etag"), Some("\"x\""), "so all stays");
    let response = head(Truncate::chars(9), "10");
    assert_eq!(
        header(&response, "content-length"),
        None,
        "chars: it depends on the text"
    );
}

#[test]
fn a_head_answered_with_the_body_of_the_get_gets_its_headers_and_its_length() {
    // Row 57.
    let response = Truncate::bytes(4).apply_to(&Method::HEAD, long().text());
    assert_eq!(
        header(&response, "content-length"),
        Some("4"),
        "as for a GET"
    );
    let told = header(&response, "content-truncated");
    assert_eq!(
        told,
        Some("length;limit=4;unit=byte;size=10"),
        "as for a GET"
    );
    assert_eq!(
        response.body().size_hint().exact(),
        Some(4),
        "the body's hint is right too"
    );
}

#[test]
fn a_response_without_content_is_left_alone() {
    // Row 58.
    for status in [100, 103, 204, 205] {
        let response =
            Script::chunks(["odd"]).with([("content-type", "text/plain"), ("etag", "\"x\"")]);
        let response = Truncate::bytes(1).apply(with_status(status, response));
        assert_eq!(
            header(&response, "etag"),
            Some("\"x\""),
            "the headers of a {status} stay"
        );
        let told = response.extensions().get::<Truncation>().is_some();
        assert!(!told, "nothing is told of a {status}");
    }
}

#[test]
fn a_304_says_what_the_200_would_have_said() {
    // Row 58. The option to keep validators (row 65) is not part of this release.
    let response = || {
        let mut response = Response::new(Script::chunks([""; 0]).sized());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
            .headers_mut()
            .insert("etag", "\"x\"".parse().unwrap());
        response
    };
    let cut = Truncate::bytes(4).apply(response());
    assert_eq!(header(&cut, "etag"), None, "the 200 might have been cut");
    let mut sized = response();
    sized
        .headers_mut()
        .insert("content-length", "10".parse().unwrap());
    let cut = Truncate::bytes(4).apply(sized);
    assert_eq!(
        header(&cut, "content-length"),
        Some("4"),
        "the 200 would have been cut"
    );
    let mut small = response();
    small
        .headers_mut()
        .insert("content-length", "3".parse().unwrap());
    let whole = Truncate::bytes(4).apply(small);
    assert_eq!(
        header(&whole, "content-length"),
        Some("3"),
        "the 200 would have passed"
    );
    assert_eq!(header(&whole, "etag"), Some("\"x\""), "with its tag");
}

#[test]
fn an_upgrade_or_a_tunnel_is_untouched_extensions_included() {
    // Row 59.
    #[derive(Clone, Debug, PartialEq)]
    struct OnUpgrade;
    for (status, method) in [(101, Method::GET), (200, Method::CONNECT)] {
        let headers = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("etag", "\"x\""),
        ];
        let mut response = with_status(status, Script::chunks(["abc"]).with(headers));
        response.extensions_mut().insert(OnUpgrade);
        let before = response.headers().clone();
        let response = Truncate::bytes(1).any_type().apply_to(&method, response);
        assert_eq!(response.headers(), &before, "the headers are as they were");
        assert_eq!(response.extensions().len(), 1, "the extensions too");
        assert!(
            response.extensions().get::<OnUpgrade>().is_some(),
            "the upgrade's is there"
        );
        assert_eq!(read(response.into_body()).bytes(), b"abc", "so is the body");
    }
}

#[test]
fn a_single_range_of_bytes_is_shortened_and_stays_a_range() {
    // Row 60. A range that we asked for ourselves (rows 62 and 63) is not part of this release.
    let range = long().with([
        ("content-type", "text/plain"),
        ("content-range", "bytes 100-109/200"),
        ("etag", "\"x\""),
    ]);
    let response = Truncate::bytes(4).apply(with_status(206, range));
    assert_eq!(response.status(), 206, "the status stays");
    let range = header(&response, "content-range");
    assert_eq!(
        range,
        Some("bytes 100-103/200"),
        "it ends where the content ends"
    );
    assert_eq!(
        header(&response, "content-length"),
        Some("4"),
        "the length agrees"
    );
    assert_eq!(
        header(&response, "etag"),
        Some("\"x\""),
        "it is a part of the same thing"
    );
    assert_eq!(finish(response).0.bytes(), b"abcd", "so does the content");
}

#[test]
fn an_error_response_passes_whole_unless_asked_otherwise() {
    // Row 73.
    for status in [301, 404, 500] {
        let response = Truncate::bytes(4).apply(with_status(status, long().text()));
        assert_eq!(
            header(&response, "content-length"),
            Some("10"),
            "a {status} stays"
        );
        assert_eq!(
            read(response.into_body()).bytes().len(),
            10,
            "a {status} passes whole"
        );
        let response = Truncate::bytes(4).any_status();
        let response = response.apply(with_status(status, long().text()));
        assert_eq!(
            finish(response).0.bytes(),
            b"abcd",
            "a {status} is cut if asked for"
        );
    }
}

#[test]
fn a_head_answered_with_a_body_and_no_length_takes_the_length_of_the_body() {
    let mut response = long().text();
    response.headers_mut().remove("content-length");
    let response = Truncate::bytes(4).apply_to(&Method::HEAD, response);
    assert_eq!(header(&response, "content-length"), Some("4"));
    let told = header(&response, "content-truncated");
    assert_eq!(told, Some("length;limit=4;unit=byte;size=10"));
}
