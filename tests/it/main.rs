//! Behaviour through the public API, over real sockets: one binary, a module per behaviour.

mod gather;
mod truncate;
