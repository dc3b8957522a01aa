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
//! use axum::{Router, response::IntoResponse, routing::get};
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
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app).with_graceful_shutdown(signal).await?;
//! upstream.drain(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # How a request travels
//!
//! | phase | what happens | its timeout and other ends |
//! |---|---|---|
//! | pool | it takes an idle connection or a free HTTP/2 stream, or waits its turn | [`PoolTimeout`], [`QueueFull`], [`Draining`] |
//! | connect | the pool opens a connection: name, TCP, TLS, and over HTTP/2 the settings | [`ConnectTimeout`], [`Dns`], [`ConnectRefused`], [`TlsCertificate`] … |
//! | write | the request goes out | [`WriteTimeout`], [`RequestBody`] |
//! | read | the head comes, then the body, piece by piece | [`ReadTimeout`], [`Closed`], [`Protocol`], [`BodyIncomplete`] |
//!
//! [`Timeouts`] has one for each, and `total` for all of them together. An error's
//! [`kind`](Error::kind) names what happened and its [`phase`](Error::phase) where; each kind has one
//! HTTP status, one gRPC code and one RFC 9209 error type.
//!
//! The response's body holds the connection until it ends, fails or is dropped. Dropped early, its
//! rest is read on if that is small ([`RemainderPolicy`]), so that a cut body does not cost its
//! connection; else the connection is closed, or over HTTP/2 the stream is reset.
//!
//! # Cancellation
//!
//! Drop any future or body at any point. A place in the queue, a connection, a permit is a value that
//! gives itself back when it is dropped; there is no clean-up that could be forgotten.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `rustls` | yes | https, by rustls with ring and the platform's certificate verifier |
//! | `axum` | | [`Upstream`] as an extractor, `IntoResponse for Error`; needs axum-core only |
//! | `tonic` | | `From<Error> for tonic::Status`, which tonic also finds among an error's sources |
//! | `charset` | | [`Truncate`] reads text in charsets other than UTF-8 (encoding_rs) |
//! | `decompression` | | [`Truncate`] reads gzip, deflate, br and zstd (async-compression), within bounds |
//!
//! A feature adds; it changes nothing that was there without it, but for bodies that could not be cut
//! before.
//!
//! # Differences from
//!
//! * **reqwest and hyper-util's client** bound their *idle* connections only. Here all sockets count,
//!   those being opened or closed included, and requests past the bound wait in a fair queue.
//! * **tower's `ConcurrencyLimit`** gives its permit back with the response's head.
//!   [`limit::UntilBodyEndLayer`] holds it until the body's end, and is that very layer underneath.
//! * **httpx** closes the connection of a body that is not read to its end, and counts characters
//!   only within a chunk when chunks are sliced. Here a small rest is read on, and characters are
//!   counted across chunks.
//!
//! [`PoolTimeout`]: ErrorKind::PoolTimeout
//! [`QueueFull`]: ErrorKind::QueueFull
//! [`Draining`]: ErrorKind::Draining
//! [`ConnectTimeout`]: ErrorKind::ConnectTimeout
//! [`Dns`]: ErrorKind::Dns
//! [`ConnectRefused`]: ErrorKind::ConnectRefused
//! [`TlsCertificate`]: ErrorKind::TlsCertificate
//! [`WriteTimeout`]: ErrorKind::WriteTimeout
//! [`RequestBody`]: ErrorKind::RequestBody
//! [`ReadTimeout`]: ErrorKind::ReadTimeout
//! [`Closed`]: ErrorKind::Closed
//! [`Protocol`]: ErrorKind::Protocol
//! [`BodyIncomplete`]: ErrorKind::BodyIncomplete

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
    truncate::{
        Invalid, Truncate, TruncateBody, TruncateFuture, TruncateLayer, TruncateService,
        Truncation, TruncationOutcome, Uncuttable,
    },
    upstream::{AtOrigin, ResponseFuture, Upstream, UpstreamBody, UpstreamBuilder},
};

#[cfg(feature = "axum")]
pub use crate::extract::MissingUpstream;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
