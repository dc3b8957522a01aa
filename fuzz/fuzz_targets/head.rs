#![no_main]

use arbitrary::Arbitrary;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use libfuzzer_sys::fuzz_target;
use tower_upstream::{Invalid, Truncate, Truncation, TruncationOutcome, Uncuttable};
use tower_upstream_fuzz::{Chunks, Shape, read};

#[derive(Arbitrary, Debug)]
struct Input {
    limit: u8,
    unit: u8,
    options: u8,
    method: u8,
    status: u16,
    headers: Vec<(u8, Value)>,
    shape: Shape,
    bytes: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Value {
    Known(u8),
    Any(Vec<u8>),
}

const NAMES: [&str; 12] = [
    "content-type",
    "content-length",
    "content-encoding",
    "content-range",
    "transfer-encoding",
    "etag",
    "accept-ranges",
    "cache-control",
    "trailer",
    "vary",
    "grpc-status",
    "repr-digest",
];

const VALUES: [&str; 14] = [
    "text/plain",
    "text/html; charset=\"shift_jis\"",
    "text/plain; charset=latin1",
    "application/grpc",
    "text/event-stream",
    "3",
    "12",
    "18446744073709551616",
    "identity",
    "gzip",
    "bytes 0-11/40",
    "bytes 0-18446744073709551615/*",
    "no-transform",
    "chunked",
];

fuzz_target!(|input: Input| {
    let limit = u64::from(input.limit);
    let units = [Truncate::bytes, Truncate::chars, Truncate::grpc_messages];
    let mut truncate = units[usize::from(input.unit) % units.len()](limit);
    let has = |option: u32| input.options & (1 << option) != 0;
    for (option, set) in [
        Truncate::any_type as fn(Truncate) -> Truncate,
        Truncate::any_status,
        Truncate::obey_no_transform,
        Truncate::take,
        |truncate| truncate.invalid(Invalid::Replace),
        |truncate| truncate.invalid(Invalid::Error),
        |truncate| truncate.uncuttable(Uncuttable::Refuse),
    ]
    .into_iter()
    .enumerate()
    {
        if has(option as u32) {
            truncate = set(truncate);
        }
    }
    let methods = [Method::GET, Method::HEAD, Method::CONNECT, Method::POST];
    let method = &methods[usize::from(input.method) % methods.len()];
    let mut response = Response::new(Chunks::new(&input.bytes, input.shape));
    *response.status_mut() = StatusCode::from_u16(input.status % 500 + 100).unwrap();
    for (name, value) in &input.headers {
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        let value = match value {
            Value::Known(known) => Ok(HeaderValue::from_static(
                VALUES[usize::from(*known) % VALUES.len()],
            )),
            Value::Any(bytes) => HeaderValue::from_bytes(bytes),
        };
        if let Ok(value) = value {
            response.headers_mut().append(name, value);
        }
    }
    let before = response.headers().clone();
    let body_length = response.body().size_hint().exact();

    let response = truncate.apply_to(method, response);
    let truncation = response.extensions().get::<Truncation>().cloned();
    let is_refused =
        matches!(&truncation, Some(told) if told.outcome() == TruncationOutcome::Refused);
    let (head, body) = response.into_parts();
    let hint = body.size_hint();
    let seen = read(body);
    let has_content = method != Method::HEAD && head.status != StatusCode::NOT_MODIFIED;

    if is_refused {
        assert!(!seen.failed, "a refusal is whole");
        return;
    }
    let Some(truncation) = truncation.filter(|_| has_content) else {
        if has_content {
            assert_eq!(head.headers, before, "what is not cut is not changed");
            assert_eq!(seen.bytes, input.bytes, "nor is its body");
        }
        return;
    };
    assert!(
        !head.headers.contains_key("transfer-encoding"),
        "the framing is our own"
    );
    assert!(
        head.headers.get_all("content-length").iter().count() <= 1,
        "there is one length"
    );
    if let Some(stated) = head.headers.get("content-length") {
        let stated: u64 = stated.to_str().unwrap().parse().expect("it is a number");
        if let Some(exact) = hint.exact() {
            assert_eq!(stated, exact, "the length is the body's");
        }
        if body_length.is_some() && !seen.failed {
            assert_eq!(
                stated,
                seen.bytes.len() as u64,
                "it is the length that comes"
            );
        }
    }
    let outcome = truncation.outcome();
    let told = head.headers.get("content-truncated").is_some();
    if told && body_length.is_some() && !seen.failed {
        assert!(
            matches!(outcome, TruncationOutcome::Cut { .. }),
            "what is told to be cut is"
        );
    }
    if let TruncationOutcome::Complete { bytes }
    | TruncationOutcome::Cut { bytes, .. }
    | TruncationOutcome::LimitReached { bytes } = outcome
    {
        assert_eq!(bytes, seen.bytes.len() as u64, "what passed was counted");
    } else {
        assert_eq!(outcome, TruncationOutcome::Failed, "it ended");
    }
});
