//! The rules alone: exact cases by name, and random ones against invariants and a plain model.

use std::time::Duration;

use tokio::time::Instant;

use super::{Actions, ConnId, State, Terms, WaiterId};
use crate::{
    config::Limits,
    origin::{Key, Protocol},
    stats::CloseCause,
};

mod counted;
mod exact;
mod finer;
mod invariants;
mod model;
mod random;
mod world;

/// Connections and waiters are numbers here.
type Rules = State<u64, u64>;
type Out = Actions<u64, u64>;

/// The first three origins speak HTTP/1.1; the protocol of the others is found out.
fn key(n: usize) -> Key {
    let origin = format!("http://o{n}.test").parse().unwrap();
    let protocol = if n < 3 {
        Protocol::Http1
    } else {
        Protocol::Negotiated
    };
    Key::new(origin, protocol)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
