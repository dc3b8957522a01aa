//! gRPC: tonic's generated clients over the handle, and its services under the layer.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute, not the helpers they share"
)]

mod admission;
mod calls;
mod deadlines;
mod example;
mod web;
pub(crate) mod words;
