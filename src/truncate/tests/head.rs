use http::{HeaderName, Method, Request, Response, header::CONTENT_TYPE};
use http_body::Body as _;

use super::support::{Script, finish, header, read, truncation};
use crate::{Invalid, Truncate, TruncationOutcome as Outcome};

fn long() -> Script {
    Script::chunks(["abcdefghij"]).sized()
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

#[test]
fn an_empty_body_is_believed_before_a_header_that_states_a_length() {
    let mut response = Script::chunks([""; 0]).sized().text();
    let stated = "10".parse().unwrap();
    response.headers_mut().insert("content-length", stated);
    let response = Truncate::bytes(4).apply(response);
    assert_eq!(
        header(&response, "content-length"),
        None,
        "nothing is promised that will not come"
    );
    assert_eq!(header(&response, "content-truncated"), None, "nor was cut");
}

#[test]
fn what_is_no_text_may_be_sniffed_as_before() {
    let image = long().with([("content-type", "image/png")]);
    let response = Truncate::bytes(4).any_type().apply(image);
    assert_eq!(header(&response, "content-length"), Some("4"), "it is cut");
    assert_eq!(
        header(&response, "x-content-type-options"),
        None,
        "no end of it looks like text"
    );
}
