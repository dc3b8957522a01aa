//! Call other HTTP services from a tower server: one shared, bounded, pooled handle.
//!
//! A handler that calls five upstream services must not take a thread for each call, nor open
//! connections without bound. Here one [`Upstream`], made when the application starts and cloned to
//! wherever it is needed, owns every connection; [`Gather`] sends many requests at once in the
//! caller's task; [`Truncate`] cuts what comes back while it streams; and [`UpstreamLayer`] gives the
//! handle to every handler and bounds how many requests are at work.
//!
//! # The recipe
//!
//! The first 50 characters of each page, fetched at once, as one streamed response, with the feature
//! `axum`:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use axum::{Router, response::IntoResponse, routing::get, serve::ListenerExt};
//! use tower_upstream::{Gather, Limits, Timeouts, Truncate, Upstream, UpstreamLayer};
//!
//! const URLS: [&str; 2] = ["http://127.0.0.1:8000/a", "http://127.0.0.1:8000/b"];
//!
//! async fn previews(upstream: Upstream) -> impl IntoResponse {
//!     Gather::get(URLS).truncate(Truncate::chars(50)).send(&upstream).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let upstream = Upstream::builder()
//!     .limits(Limits::new().max_connections(10).max_idle_connections(5))
//!     .timeouts(Timeouts::new(Duration::from_secs(5)).read(Duration::from_secs(15)))
//!     .build()?;
//!
//! let app = Router::new()
//!     .route("/", get(previews))
//!     .layer(UpstreamLayer::new(upstream.clone()).max_in_flight(100));
//!
//! # let signal = async {};
//! // Without `set_nodelay`, the pieces of a streamed body wait for each other's acknowledgement.
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000")
//!     .await?
//!     .tap_io(|socket| drop(socket.set_nodelay(true)));
//! axum::serve(listener, app).with_graceful_shutdown(signal).await?;
//! upstream.drain(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # How a request travels
//!
#![doc = include_str!("../docs/diagrams/request.svg")]
//!
//! Each of the four phases, pool, connect, write and read, has a timeout of its own in [`Timeouts`], and
//! fails by its own name; `total` bounds the whole, body included. An error's [`kind`](Error::kind) says
//! what happened and its [`phase`](Error::phase) where.
//!
//! The response's body holds the connection until it ends, fails or is dropped. Dropped early, its
//! rest is read on if that is small ([`RemainderPolicy`]), so that a cut body does not cost its
//! connection; else the connection is closed, or over HTTP/2 the stream is reset.
//!
//! A request is sent at most once, but for the cases that [`Upstream::send`] names. Other retries are a
//! policy of yours: see the [recipes].
//!
//! # Limits
//!
//! [`Limits::max_connections`] bounds sockets, those being opened or closed included, at any instant and
//! over all origins; [`Limits::max_connections_per_origin`] bounds each. When all are taken, requests
//! wait, first come, first served, for at most `pool` and no more of them than
//! [`Limits::max_pending`]. The wait is inside the call: the handle is always ready, so nothing that
//! merely polls it for readiness holds a place.
//!
//! On the server's side, [`UpstreamLayer`] bounds how many requests are at work until their response
//! *bodies* end. It is tower's own limit under [`limit::UntilBodyEndLayer`], which does the same for any
//! other limit layer.
//!
//! How to choose the numbers, and what to make of [`Stats`], is in `docs/operators.md` of the
//! repository.
//!
//! # Gather
//!
//! [`Gather`] sends requests at once and joins the answers into one response that streams, as text,
//! NDJSON or JSON, in the order of the requests or as they come. Its legs run in the caller's task; one that
//! fails is told in its place; none keeps a connection while it waits for its turn, so gathers
//! cannot starve each other, however wide they are and however small the pool.
//!
//! # Truncation
//!
//! [`Truncate`] cuts a body after so many bytes, characters or gRPC messages while it streams, and keeps
//! its head true: no length, validator or digest of the whole stands over a part. It works on a
//! response at hand, as a [`TruncateLayer`] for servers and clients, in [`UpstreamLayer`], and for the legs
//! of a [`Gather`]. [`Truncation`], in the response's extensions, tells whether and where it was cut.
//!
//! # Errors
//!
//! [`Error`] is one word big. Each [`ErrorKind`] has one HTTP status, one gRPC code, one error type of
//! [RFC 9209](https://www.rfc-editor.org/rfc/rfc9209), and plain words that may go to a client:
//!
#![doc = include_str!("error/table.md")]
//!
//! [`Error::was_sent`] tells whether the request may have reached the upstream; one that did not is safe
//! to send again.
//!
//! # Cancellation
//!
//! Drop any future or body at any point. A place in the queue, a connection, a permit is a value that
//! gives itself back when it is dropped; there is no clean-up that could be forgotten. On HTTP/1.1 the
//! connection of a dropped exchange closes, unless only a small rest of a body was left; on HTTP/2 its
//! stream is reset and the connection goes on. A dial belongs to the pool, and may still end in an idle
//! connection.
//!
//! # Shutdown
//!
//! [`Upstream::drain`] refuses new requests, closes what is idle, lets the rest finish, and aborts
//! what is left at its deadline. In a server, call it once the server has stopped taking requests, with
//! what is left of one deadline for both: `examples/graceful_shutdown.rs`. A handle whose last clone
//! is dropped closes what is idle by itself.
//!
//! # What it tells
//!
//! [`Upstream::stats`] is a snapshot: connections by state and requests that wait, in total and for
//! each origin, and what was opened, reused, closed by [cause](CloseCause), cut and timed out so far.
//! [`Timing`], in a request's extensions, learns where that request's time goes. The features
//! `tracing` and `metrics` tell the same to a subscriber and a recorder, by OpenTelemetry's names: see
//! [`trace`].
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `rustls` | yes | https, by rustls with ring and the platform's certificate verifier |
//! | `axum` | | [`Upstream`] as an extractor, `IntoResponse for Error`; needs axum-core only |
//! | `tonic` | | `From<Error> for tonic::Status`, which tonic also finds among an error's sources |
//! | `tracing` | | a span for each exchange, and events: see [`trace`] |
//! | `metrics` | | gauges, counters and histograms: see [`trace`] |
//! | `charset` | | [`Truncate`] reads text in charsets other than UTF-8 (encoding_rs) |
//! | `decompression` | | [`Truncate`] reads gzip, deflate, br and zstd (async-compression), within bounds |
//!
//! A feature adds; it changes nothing that was there without it, but for bodies that could not be cut
//! before, and for the status that `tonic` puts among an error's sources.
//!
//! # Minimum supported Rust version
//!
//! 1.88. A newer one may be asked for in a minor release, and is then at least six months old.
//!
//! # Differences from
//!
//! * **reqwest** and **hyper-util's client** can bound their *idle* connections only, for each host. Here
//!   all sockets count, and requests past the bound wait in a fair queue. reqwest brings redirects, cookies, proxies and
//!   decompression along; here they are tower-http's, as far as it has them: see the [recipes].
//! * **tower's `ConcurrencyLimit`** gives its permit back with the response's head.
//!   [`limit::UntilBodyEndLayer`] holds it until the body's end, and is that very layer underneath.
//! * **httpx** has the same four timeouts by the same names, and the same limits on connections by
//!   nearly the same. It closes the connection of a body that is not read to its end; here a small rest
//!   is read on. `docs/from-httpx.md` of the repository
//!   goes through it line by line.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod answer;
mod config;
mod conn;
mod connect;
mod error;
#[cfg(feature = "axum")]
mod extract;
mod forward;
mod gather;
mod grpc;
pub mod limit;
mod load;
mod middleware;
mod origin;
mod pool;
pub mod recipes;
mod stats;
#[cfg(feature = "tonic")]
mod status;
mod sync;
mod timing;
pub mod trace;
mod truncate;
mod upstream;

pub use crate::{
    config::{Limits, RemainderPolicy, Timeouts},
    connect::public_addresses,
    error::{Error, ErrorKind, Phase},
    forward::{Forward, ForwardBody, ForwardFuture, ForwardedHeaders},
    gather::{Format, Gather, GatherBody, Leg, Legs, Order},
    grpc::GrpcDeadline,
    load::CompleteOnBodyEnd,
    middleware::{UpstreamLayer, UpstreamService, UpstreamServiceBody, UpstreamServiceFuture},
    origin::Origin,
    stats::{CloseCause, Drained, Gauges, Stats},
    timing::Timing,
    truncate::{
        Invalid, Truncate, TruncateBody, TruncateFuture, TruncateLayer, TruncateService,
        Truncation, TruncationOutcome, Uncuttable,
    },
    upstream::{AtOrigin, ResponseFuture, Upstream, UpstreamBody, UpstreamBuilder},
};

#[cfg(feature = "axum")]
pub use crate::extract::MissingUpstream;

/// The programs in the README and in the pages beside it, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/from-httpx.md")]
#[doc = include_str!("../docs/operators.md")]
struct Pages;
