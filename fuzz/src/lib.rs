//! What the targets have in common.

mod chunks;
mod received;
mod wire;

pub use self::{
    chunks::{Chunks, Seen, Shape, read},
    received::{Came, Received, answer, parse},
    wire::{Open, Wire, assert_nothing_is_left, builder, exhaust, run},
};
