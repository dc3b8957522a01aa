//! Many answers as one, over hand-made services in virtual time and over real sockets.

#![expect(
    clippy::expect_used,
    reason = "clippy knows tests by their attribute, not the helpers they share"
)]

mod answers;
mod failures;
mod http2;
mod model;
mod policies;
mod raw;
mod rounds;
mod sockets;
mod support;
mod waits;
