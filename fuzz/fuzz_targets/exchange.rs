#![no_main]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{sleep, timeout},
};
use tower_upstream::{Truncate, Upstream};
use tower_upstream_fuzz::{Open, assert_nothing_is_left, builder, exhaust, run};

#[derive(Arbitrary, Debug)]
struct Input {
    http2: bool,
    /// What each connection does, in turn.
    scripts: Vec<Script>,
    asks: Vec<Ask>,
}

#[derive(Arbitrary, Clone, Debug)]
struct Script {
    /// Each before, or else after, something of a request has come.
    pieces: Vec<(Piece, bool, u8)>,
    /// Whether it stays afterwards.
    stays: bool,
}

#[derive(Arbitrary, Clone, Debug)]
enum Piece {
    Known(u8),
    Any(Vec<u8>),
    Often(u8, u8),
}

/// A request, and what is read of its answer.
#[derive(Arbitrary, Clone, Debug)]
struct Ask {
    after: u8,
    method: u8,
    sends: u16,
    reading: Reading,
}

#[derive(Arbitrary, Clone, Debug)]
enum Reading {
    Whole,
    Head,
    Piece,
    Cut(u8),
    AtMost(u8),
    For(u8),
}

const HTTP1: [&[u8]; 26] = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 503 x\r\n",
    b"content-length: 5\r\n",
    b"content-length: 70000\r\n",
    b"content-length: 18446744073709551616\r\n",
    b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip, chunked\r\n",
    b"content-type: text/plain; charset=shift_jis\r\n",
    b"content-encoding: gzip\r\n",
    b"connection: close\r\n",
    b"keep-alive: timeout=1\r\n",
    b"trailer: x\r\n",
    b" folded\r\n",
    b"\r\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"0\r\nx: y\r\n\r\n",
];

/// Frames: length, type, flags, stream.
const HTTP2: [&[u8]; 22] = [
    b"\0\0\0\x04\0\0\0\0\0",
    b"\0\0\0\x04\x01\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x01",
    b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff",
    b"\0\0\x01\x01\x04\0\0\0\x01\x88",
    b"\0\0\x01\x01\x05\0\0\0\x01\x88",
    b"\0\0\x01\x01\x04\0\0\0\x03\x88",
    b"\0\0\x01\x01\0\0\0\0\x01\x88",
    b"\0\0\0\x09\x04\0\0\0\x01",
    b"\0\0\x05\0\0\0\0\0\x01hello",
    b"\0\0\x05\0\x01\0\0\0\x01hello",
    b"\0\0\x05\0\x01\0\0\0\x03hello",
    b"\0\0\0\0\0\0\0\0\x01",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x07",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0",
    b"\0\0\x04\x08\0\0\0\0\0\0\0\xff\xff",
    b"\0\0\x04\x08\0\0\0\0\x01\x7f\xff\xff\xff",
    b"\0\0\x08\x06\0\0\0\0\012345678",
    b"\0\0\x05\x05\x04\0\0\0\x01\0\0\0\x02\x88",
];

impl Piece {
    fn bytes(&self, http2: bool) -> Vec<u8> {
        let known = |which: u8| {
            let known: &[&[u8]] = if http2 { &HTTP2 } else { &HTTP1 };
            known[usize::from(which) % known.len()]
        };
        match self {
            Self::Known(which) => known(*which).to_vec(),
            Self::Any(bytes) => bytes.clone(),
            Self::Often(which, times) => known(*which).repeat(8 * usize::from(*times)),
        }
    }
}

async fn play(script: Option<Script>, http2: bool, mut io: DuplexStream) {
    let Some(script) = script else { return };
    let mut space = [0; 4096];
    for (piece, at_once, pause) in &script.pieces {
        if !at_once {
            let _ = timeout(Duration::from_millis(20), io.read(&mut space)).await;
        }
        if io.write_all(&piece.bytes(http2)).await.is_err() {
            return;
        }
        sleep(Duration::from_millis((*pause).into())).await;
    }
    if script.stays {
        exhaust(&mut io).await;
    }
}

async fn ask(upstream: Upstream, ask: &Ask) {
    sleep(Duration::from_millis(ask.after.into())).await;
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ];
    let method = &methods[usize::from(ask.method) % methods.len()];
    let body = Full::new(Bytes::from(vec![b'x'; ask.sends.into()]));
    let request = Request::builder()
        .method(method)
        .uri("http://upstream.test/x");
    let sent = upstream.send(request.body(body).expect("a request"));
    let patience = match ask.reading {
        Reading::For(ms) => Duration::from_millis(ms.into()),
        _ => Duration::MAX,
    };
    let Ok(Ok(response)) = timeout(patience, sent).await else {
        return;
    };
    match ask.reading {
        Reading::Head => {}
        Reading::Whole | Reading::For(_) => {
            let _ = timeout(patience, response.into_body().bytes(usize::MAX)).await;
        }
        Reading::AtMost(most) => {
            let read = response.into_body().bytes(most.into()).await;
            assert!(read.is_err() || read.is_ok_and(|bytes| bytes.len() <= most.into()));
        }
        Reading::Piece => {
            let _ = response.into_body().frame().await;
        }
        Reading::Cut(most) => {
            let cut = Truncate::bytes(most.into())
                .take()
                .apply_to(method, response);
            let _ = cut.into_body().collect().await;
        }
    }
}

fuzz_target!(|input: Input| {
    run(async {
        let open = Open::default();
        let scripts = Arc::new(input.scripts);
        let (turn, http2) = (Arc::new(AtomicUsize::new(0)), input.http2);
        let connector = open.connector(move |_, io| {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            let script = scripts.get(turn % scripts.len().max(1)).cloned();
            play(script, http2, io)
        });
        let builder = builder().connector(connector);
        let builder = if http2 {
            builder.http2_prior_knowledge()
        } else {
            builder
        };
        let upstream = builder.build().expect("a handle");
        join_all(
            input
                .asks
                .iter()
                .take(8)
                .map(|one| ask(upstream.clone(), one)),
        )
        .await;
        assert!(upstream.stats().peak <= 2, "the cap is held");
        assert_nothing_is_left(&upstream, &open).await;
    });
});
