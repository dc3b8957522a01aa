#![no_main]

use std::sync::{Arc, Mutex};

use arbitrary::Arbitrary;
use http::{Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use tower_upstream_fuzz::{Came, Open, answer, assert_nothing_is_left, builder, parse, run};

#[derive(Arbitrary, Debug)]
struct Input {
    /// Its beginning, where it has one of these.
    known: u8,
    rest: Vec<u8>,
    method: u8,
}

const BEGINNINGS: [&str; 8] = [
    "",
    "http://upstream.test/",
    "http://upstream.test",
    "http://user:secret@upstream.test:8080",
    "http://[::1]:80",
    "http://xn--",
    "HTTP://",
    "http://127.1/..",
];

fuzz_target!(|input: Input| {
    let beginning = BEGINNINGS[usize::from(input.known) % BEGINNINGS.len()];
    let text = [beginning.as_bytes(), &input.rest].concat();
    let Ok(uri) = Uri::try_from(&text[..]) else {
        return;
    };
    let methods = [Method::GET, Method::OPTIONS, Method::POST, Method::CONNECT];
    let method = methods[usize::from(input.method) % methods.len()].clone();
    run(async {
        let came = Came::default();
        let dialed = Arc::new(Mutex::new(Vec::new()));
        let open = Open::default();
        let (shared, to) = (came.clone(), dialed.clone());
        let response: Arc<[u8]> = (*b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").into();
        let connector = open.connector(move |uri, io| {
            to.lock().unwrap().push(uri);
            answer(io, shared.clone(), response.clone())
        });
        let upstream = builder().connector(connector).build().expect("a handle");
        let mut request = Request::new(String::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        drop(upstream.send(request).await);
        assert_nothing_is_left(&upstream, &open).await;
        for to in dialed.lock().unwrap().iter() {
            let (Some(to), Some(host)) = (to.host(), uri.host()) else {
                panic!("dialed {to} for {uri}");
            };
            assert!(to.eq_ignore_ascii_case(host), "dialed {to} for {uri}");
        }
        for bytes in came.lock().unwrap().iter().filter(|came| !came.is_empty()) {
            let received = parse(bytes);
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            // A path that is empty is this one (RFC 9110 §4.2.3).
            let path = match path.strip_prefix('?') {
                Some(query) => format!("/?{query}"),
                None => path.to_owned(),
            };
            let is_whole = received.method == "OPTIONS" && received.target == "*";
            assert!(
                is_whole || received.target == path,
                "{} of {uri}",
                received.target
            );
            let hosts: Vec<_> = received.all("host").collect();
            let [host] = hosts[..] else {
                panic!("hosts: {hosts:?}");
            };
            assert!(!host.contains(&b'@'), "no credentials: {uri}");
            let host = str::from_utf8(host)
                .expect("a host is text")
                .to_ascii_lowercase();
            let own = uri.host().unwrap_or_default().to_ascii_lowercase();
            assert!(host.starts_with(&own), "{host} is the host of {uri}");
            assert!(received.body().is_empty(), "it has no body");
        }
    });
});
