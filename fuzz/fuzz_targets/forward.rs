#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, request::Parts,
};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt;
use tower_upstream::{ForwardedHeaders, Origin};
use tower_upstream_fuzz::{
    Came, Open, Received, answer, assert_nothing_is_left, builder, parse, run,
};

#[derive(Arbitrary, Debug)]
struct Input {
    method: u8,
    target: Target,
    version: u8,
    fields: Vec<(Name, Value)>,
    body: Vec<u8>,
    is_sized: bool,
    keeps_host: bool,
    policy: u8,
    answer: Vec<(Name, Value)>,
}

#[derive(Arbitrary, Debug)]
enum Target {
    Any(Vec<u8>),
    Path(Vec<u8>),
    Known(u8),
}

#[derive(Arbitrary, Debug)]
enum Name {
    Known(u8),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Value {
    Known(u8),
    Any(Vec<u8>),
    /// The name of another field, as `Connection` may have it.
    Name(u8),
}

const TARGETS: [&str; 10] = [
    "/",
    "*",
    "/a?b=c",
    "//evil.test/x",
    "/..%2f..//%0d%0aHost:evil",
    "http://front.test/x",
    "http://user@front.test:80/x",
    "https://front.test",
    "http://evil.test:0/?",
    "ftp://front.test/",
];

const NAMES: [&str; 24] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "expect",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x_forwarded_for",
    "content_length",
    "cookie",
    "max-forwards",
    "http2-settings",
    "alt-svc",
    "authorization",
    "content-type",
    "x-other",
];

const VALUES: [&str; 20] = [
    "front.test",
    "evil.test, front.test",
    "close",
    "upgrade, keep-alive",
    "websocket",
    "h2c",
    "0",
    "3",
    "3, 3",
    "+3",
    "chunked",
    "gzip, chunked",
    "trailers",
    "100-continue",
    "1.1 gate",
    "for=1.2.3.4;host=\"x\"",
    "a=b",
    "application/grpc",
    "",
    "\t x",
];

/// Of one connection only: never passed on as they came.
const HOP_BY_HOP: [&str; 8] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "http2-settings",
    "alt-svc",
    "te",
];

/// What the proxy itself may say, whatever the client had named.
const OURS: [&str; 11] = [
    "host",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "te",
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
];

fn field((name, value): &(Name, Value)) -> Option<(HeaderName, HeaderValue)> {
    let known = |which: &u8| NAMES[usize::from(*which) % NAMES.len()];
    let name = match name {
        Name::Known(which) => HeaderName::from_static(known(which)),
        Name::Any(bytes) => HeaderName::from_bytes(bytes).ok()?,
    };
    let value = match value {
        Value::Known(which) => HeaderValue::from_static(VALUES[usize::from(*which) % VALUES.len()]),
        Value::Any(bytes) => HeaderValue::from_bytes(bytes).ok()?,
        Value::Name(which) => HeaderValue::from_static(known(which)),
    };
    Some((name, value))
}

fn request(input: &Input) -> Option<Request<BoxBody<Bytes, std::convert::Infallible>>> {
    let methods = [
        "GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "CONNECT", "X-ANY",
    ];
    let target = match &input.target {
        Target::Any(bytes) => Uri::try_from(&bytes[..]).ok()?,
        Target::Path(bytes) => Uri::try_from([b"/", &bytes[..]].concat()).ok()?,
        Target::Known(which) => TARGETS[usize::from(*which) % TARGETS.len()].parse().ok()?,
    };
    let versions = [Version::HTTP_11, Version::HTTP_10, Version::HTTP_2];
    let body = Bytes::copy_from_slice(&input.body);
    let body = if input.is_sized {
        Full::new(body).boxed()
    } else {
        let frame = (!body.is_empty()).then(|| Ok(Frame::data(body)));
        StreamBody::new(futures_util::stream::iter(frame)).boxed()
    };
    let method: Method = methods[usize::from(input.method) % methods.len()]
        .parse()
        .ok()?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.version_mut() = versions[usize::from(input.version) % versions.len()];
    request.headers_mut().extend(collect(&input.fields));
    Some(request)
}

fn collect(fields: &[(Name, Value)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().take(40).filter_map(field) {
        headers.append(name, value);
    }
    headers
}

/// The names in a request's `Connection`.
fn nominated(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all("connection").iter();
    let text = lines.filter_map(|line| line.to_str().ok());
    let names = text.flat_map(|line| line.split(','));
    names.map(|name| name.trim().to_ascii_lowercase()).collect()
}

fn judge(received: &Received<'_>, input: &Input, sent: &Parts) {
    assert_eq!(received.method, sent.method.as_str());
    let path = sent.uri.path_and_query().map_or("/", |path| path.as_str());
    assert_eq!(received.target, path, "as it came, byte by byte");
    assert_eq!(received.all("host").count(), 1, "one host");
    assert!(received.all("via").count() >= 1, "it names itself");
    let host = received.all("host").next().unwrap_or_default();
    let expected: &[u8] = b"upstream.test";
    assert!(input.keeps_host || host == expected, "the origin's host");
    for (name, value) in &received.fields {
        let name = name.to_ascii_lowercase();
        let is_te = name == "te" && *value == b"trailers";
        assert!(
            is_te || !HOP_BY_HOP.contains(&&*name),
            "{name} is hop by hop"
        );
        let is_ours = OURS.contains(&&*name);
        assert!(
            is_ours || !nominated(&sent.headers).contains(&name),
            "{name} was nominated"
        );
    }
    let body = received.body();
    assert!(
        input.body.starts_with(&body),
        "its own body and nothing else"
    );
}

fuzz_target!(|input: Input| {
    let Some(request) = request(&input) else {
        return;
    };
    run(async {
        let came = Came::default();
        let mut response = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (name, value) in &collect(&input.answer) {
            response.extend_from_slice(name.as_str().as_bytes());
            response.extend_from_slice(b": ");
            response.extend_from_slice(value.as_bytes());
            response.extend_from_slice(b"\r\n");
        }
        response.extend_from_slice(b"\r\n");
        let response: Arc<[u8]> = response.into();
        let open = Open::default();
        let shared = came.clone();
        let connector = open.connector(move |_, io| answer(io, shared.clone(), response.clone()));
        let upstream = builder()
            .http1_only()
            .connector(connector)
            .build()
            .expect("a handle");
        let origin: Origin = "http://upstream.test".parse().expect("an origin");
        let policies = [
            ForwardedHeaders::Replace,
            ForwardedHeaders::Append,
            ForwardedHeaders::Keep,
            ForwardedHeaders::Remove,
        ];
        let forward = upstream
            .forward_to(origin)
            .name("gate")
            .keep_host(input.keeps_host)
            .forwarded_headers(policies[usize::from(input.policy) % policies.len()]);
        let (parts, body) = request.into_parts();
        let sent = parts.clone();
        let answer = forward.oneshot(Request::from_parts(parts, body)).await;
        let (head, body) = answer.expect("it has no errors").into_parts();
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            for name in HOP_BY_HOP
                .iter()
                .chain(&["connection", "transfer-encoding", "upgrade"])
            {
                assert!(!head.headers.contains_key(*name), "{name} came back");
            }
        }
        let _ = body.collect().await;
        assert_nothing_is_left(&upstream, &open).await;
        let came = came.lock().unwrap();
        for bytes in came.iter().filter(|bytes| !bytes.is_empty()) {
            judge(&parse(bytes), &input, &sent);
        }
    });
});
