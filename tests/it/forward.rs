//! `Forward` behind axum and behind bare hyper, over real sockets.

mod aborts;
mod answers;
mod bodies;
mod broken;
mod clients;
mod endless;
mod ends;
mod faults;
mod hostile;
mod http2;
mod pairs;
mod smuggling;
mod support;
mod targets;
mod trailers;
mod upgrades;
mod upstreams;

pub(crate) use self::{faults::in_version, support::axum};
