//! Behaviour through the public API, over real sockets: one binary, a module per behaviour.

mod exchange;
mod support;
mod truncate;
