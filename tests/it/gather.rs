//! Many answers as one, over hand-made services in virtual time.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy knows tests by their attribute, not the helpers they share"
)]

mod answers;
mod failures;
mod policies;
mod raw;
mod support;
mod waits;
