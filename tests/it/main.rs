//! Behaviour through the public API, over real sockets: one binary, a module per behaviour.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

mod cancel;
mod caps;
mod chaos;
mod churn;
mod config;
mod drain;
mod drains;
mod error_table;
mod every_poll;
mod examples;
mod exchange;
mod extract;
mod failures;
mod farewell;
mod faults;
mod forward;
mod gateway;
mod gather;
mod grpc;
mod http2;
mod http2_ends;
mod idle;
mod isolation;
mod limits;
#[cfg(feature = "metrics")]
mod metrics;
mod middleware;
mod no_answer;
mod peers;
mod poison;
mod queue;
mod recovery;
mod reliability;
mod remainder;
mod replay;
mod reuse;
mod shutdown;
mod support;
mod timeouts;
mod timing;
mod tls;
mod total;
#[cfg(feature = "tracing")]
mod trace;
mod truncate;
mod truncate_grpc;
mod truncate_trailers;
mod truncate_upstream;
mod upgrade;
mod wire;
