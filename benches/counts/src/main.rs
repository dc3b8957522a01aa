//! One exchange on an idle connection, one gather of five, one proxied request; each as often as it
//! is told, so that `benches/gate` can count what one costs.
//!
//!     counts exchange|gather|forward|hyper-util TIMES
//!
//! `hyper-util` is one exchange by that crate's client, for comparison. Nothing here is timed.

#![allow(missing_docs, reason = "a bench is no API")]
#![expect(clippy::expect_used, reason = "a bench fails by a panic")]

#[path = "../../support/mod.rs"]
mod support;

use std::pin::pin;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::Service;
use tower_upstream::{Gather, Truncate, Upstream};

use support::InMemory;

fn page() -> Uri {
    Uri::from_static("http://page.example/a/path?and=query")
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse().ok());
    let times: usize = times.unwrap_or(1);
    support::runtime().block_on(async {
        match what.as_str() {
            "exchange" => exchange(times).await,
            "gather" => gather(times).await,
            "forward" => forward(times).await,
            "hyper-util" => hyper_util(times).await,
            // As `cargo bench` runs it.
            _ => {
                exchange(times).await;
                gather(times).await;
                forward(times).await;
                hyper_util(times).await;
            }
        }
    });
}

fn upstream() -> Upstream {
    let upstream = Upstream::builder().connector(InMemory).build();
    upstream.expect("the limits are sound")
}

async fn exchange(times: usize) {
    let upstream = upstream();
    for _ in 0..times {
        let response = upstream.get(page()).await.expect("there is a response");
        assert_eq!(read(response.into_body()).await, 100);
    }
}

async fn gather(times: usize) {
    let upstream = upstream();
    let uris: [Uri; 5] = std::array::from_fn(|_| page());
    for _ in 0..times {
        let gather = Gather::get(&uris).truncate(Truncate::chars(50));
        let response = gather.send(&upstream).await;
        assert_eq!(read(response.into_body()).await, 5 * 50 + 4 * 2);
    }
}

async fn forward(times: usize) {
    let origin = "http://page.example".parse().expect("it is an origin");
    let mut forward = upstream().forward_to(origin);
    for _ in 0..times {
        let request = Request::get("/a/path?and=query")
            .header(header::HOST, "front.example")
            .header(header::USER_AGENT, "a client/1.0")
            .header(header::ACCEPT, "text/html, */*;q=0.8")
            .header(header::ACCEPT_ENCODING, "gzip, br")
            .body(Empty::<Bytes>::new())
            .expect("the head is sound");
        let response = forward.call(request).await.expect("it never fails");
        assert_eq!(read(response.into_body()).await, 100);
    }
}

async fn hyper_util(times: usize) {
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(InMemory);
    for _ in 0..times {
        let response = client.get(page()).await.expect("there is a response");
        assert_eq!(read(response.into_body()).await, 100);
    }
}

/// Reads a body to its end, and says how long it was.
async fn read<B: Body<Data = Bytes>>(body: B) -> usize {
    let mut body = pin!(body);
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}
