//! Behaviour through the public API, over real sockets: one binary, a module per behaviour.

mod truncate;
mod truncate_grpc;
mod truncate_trailers;
