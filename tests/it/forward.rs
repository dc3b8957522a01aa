//! `Forward` behind axum and behind bare hyper, over real sockets.

mod aborts;
mod answers;
mod bodies;
mod clients;
mod http2;
mod support;
mod upgrades;
mod upstreams;
