//! Behaviour through the public API, over real sockets: one binary, a module per behaviour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod cancel;
mod caps;
mod churn;
mod config;
mod drain;
mod every_poll;
mod exchange;
mod extract;
mod failures;
mod gateway;
mod gather;
mod http2;
mod limits;
mod middleware;
mod queue;
mod reuse;
mod support;
mod timeouts;
mod tls;
mod total;
mod truncate;
mod truncate_grpc;
mod truncate_trailers;
mod upgrade;
mod wire;
