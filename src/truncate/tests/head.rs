use http::{HeaderName, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body as _;

use super::support::{Script, finish, header, read, truncation};
use crate::{Invalid, Truncate, Truncation, TruncationOutcome as Outcome};

fn long() -> Script {
    Script::chunks(["abcdefghij"]).sized()
}

fn with_status(status: u16, response: Response<Script>) -> Response<Script> {
    let (mut head, body) = response.into_parts();
    head.status = StatusCode::from_u16(status).unwrap();
    Response::from_parts(head, body)
}

#[test]
fn what_speaks_of_the_whole_goes_and_the_rest_stays() {
    let response = long().with([
        ("content-type", "text/html"),
        ("transfer-encoding", "chunked"),
        ("etag", "W/\"x\""),
        ("last-modified", "Tue, 01 Jul 2025 00:00:00 GMT"),
        ("accept-ranges", "bytes"),
        ("content-digest", "sha-256=:AAAA:"),
        ("repr-digest", "sha-256=:AAAA:"),
        ("unencoded-digest", "sha-256=:AAAA:"),
        ("digest", "sha-256=AAAA"),
        ("content-md5", "AAAA"),
        ("content-location", "/there"),
        ("trailer", "x-sum"),
        ("set-cookie", "a=b"),
        ("cache-control", "max-age=60"),
        ("vary", "accept"),
        ("link", "</next>; rel=next"),
    ]);
    let response = Truncate::bytes(4).apply(response);
    let mut left: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    left.sort();
    let expected = [
        "accept-ranges: none",
        "cache-control: max-age=60",
        "content-length: 4",
        "content-truncated: length;limit=4;unit=byte;size=10",
        "content-type: text/html",
        "link: </next>; rel=next",
        "set-cookie: a=b",
        "vary: accept",
        "x-content-type-options: nosniff",
    ];
    assert_eq!(left, expected, "only what is true of a part is left");
}

#[test]
fn the_headers_name_is_the_users_to_choose_and_integers_stay_within_the_format() {
    let name = HeaderName::from_static("x-content-truncated");
    let response = Truncate::bytes(4).header(name).apply(long().text());
    let told = header(&response, "x-content-truncated");
    assert_eq!(
        told,
        Some("length;limit=4;unit=byte;size=10"),
        "under the chosen name"
    );
    assert_eq!(
        header(&response, "content-truncated"),
        None,
        "and under no other"
    );

    let mut response = Response::new(Script::chunks([""; 0]));
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-length", "9999999999999999"),
    ] {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = Truncate::bytes(1_000_000_000_000_000).apply_to(&Method::HEAD, response);
    let told = header(&response, "content-truncated");
    assert_eq!(
        told,
        Some("length;unit=byte"),
        "no integer has more than fifteen digits"
    );
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
fn a_request_is_made_to_ask_for_the_whole() {
    // Row 64.
    let asking = |method: &str| {
        let mut request = Request::builder()
            .method(method)
            .header("range", "bytes=0-5")
            .header("if-range", "\"x\"")
            .header("if-none-match", "\"x\"")
            .header("if-match", "\"x\"")
            .header("if-modified-since", "Tue, 01 Jul 2025 00:00:00 GMT")
            .header("if-unmodified-since", "Tue, 01 Jul 2025 00:00:00 GMT")
            .header("want-repr-digest", "sha-256=1")
            .header("accept-encoding", "gzip, br")
            .header("accept", "text/plain")
            .body(())
            .unwrap();
        Truncate::chars(50).prepare(&mut request);
        request.into_parts().0.headers
    };
    let headers = asking("GET");
    assert_eq!(
        headers["accept-encoding"], "identity",
        "what is compressed cannot be cut"
    );
    assert_eq!(headers["accept"], "text/plain", "the rest stays");
    assert_eq!(headers.len(), 2, "no condition and no range is left");
    assert_eq!(
        asking("PUT").len(),
        9,
        "a condition on a write guards against a lost update"
    );

    let mut grpc = Request::new(());
    grpc.headers_mut()
        .insert(CONTENT_TYPE, "application/grpc+proto".parse().unwrap());
    Truncate::chars(50).prepare(&mut grpc);
    assert_eq!(grpc.headers().len(), 1, "a gRPC request is left as it is");
}

#[test]
fn text_without_a_type_is_not_to_be_sniffed_once_it_is_cut() {
    // Row 72.
    let passed = Truncate::bytes(4).apply(long().with([]));
    assert_eq!(
        read(passed.into_body()).bytes(),
        b"abcdefghij",
        "without any_type it passes"
    );
    let response = Truncate::bytes(4).any_type().apply(long().with([]));
    let nosniff = header(&response, "x-content-type-options");
    assert_eq!(nosniff, Some("nosniff"), "nobody shall guess from a part");
    assert_eq!(finish(response).0.bytes(), b"abcd", "it is cut");
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
fn a_length_that_is_doubtful_is_not_believed() {
    // Rows 74, 75 and 76.
    let lying = |lengths: &[&str], body: Script| {
        let mut response = body.with([
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
        ]);
        response.headers_mut().remove("content-length");
        for length in lengths {
            response
                .headers_mut()
                .append("content-length", length.parse().unwrap());
        }
        Truncate::bytes(20).apply(response)
    };
    for lengths in [
        &["10", "10"][..],
        &["10", "11"],
        &["ten"],
        &["-1"],
        &["+10"],
        &[""],
        &["99"],
    ] {
        let response = lying(lengths, long());
        assert_eq!(
            header(&response, "content-length"),
            None,
            "{lengths:?} is removed"
        );
        assert_eq!(
            header(&response, "transfer-encoding"),
            None,
            "the framing is our own"
        );
        assert_eq!(
            response.body().size_hint().exact(),
            Some(10),
            "the body is believed"
        );
        assert_eq!(finish(response).0.bytes().len(), 10, "and passes");
    }
    let endless = Script::chunks(["0123456789"; 9]);
    let response = lying(&["10"], endless);
    assert_eq!(
        header(&response, "content-length"),
        Some("10"),
        "one number may be believed"
    );
    assert_eq!(
        finish(response).0.bytes().len(),
        20,
        "but the limit holds all the same"
    );
}

#[test]
fn replaced_text_promises_no_length_and_failing_text_keeps_it() {
    // Rows 25 and 26.
    let replace = Truncate::chars(50).invalid(Invalid::Replace);
    let response = replace.apply(long().with([("content-type", "text/plain"), ("etag", "\"x\"")]));
    assert_eq!(header(&response, "content-length"), None, "it may grow");
    assert_eq!(header(&response, "etag"), None, "it may be another text");
    let response = Truncate::chars(50)
        .invalid(Invalid::Error)
        .apply(long().text());
    assert_eq!(
        header(&response, "content-length"),
        Some("10"),
        "it is this long, or it fails"
    );
    let outcome = truncation(&response);
    assert_eq!(read(response.into_body()).bytes().len(), 10, "it passes");
    assert_eq!(
        outcome.outcome(),
        Outcome::Complete { bytes: 10 },
        "as a whole"
    );
}
