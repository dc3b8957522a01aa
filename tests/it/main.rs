//! Behaviour through the public API, over real sockets: one binary, a module per behaviour.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod exchange;
mod extract;
mod forward;
mod gateway;
mod gather;
mod grpc;
mod http2;
mod limits;
mod middleware;
mod support;
mod total;
mod truncate;
mod truncate_grpc;
mod truncate_trailers;
mod wire;
