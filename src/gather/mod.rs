//! Several upstream answers as one stream: [`Gather`] is the public side, and holds the docs for
//! it.
//!
//! [`legs`] runs so many futures at once, [`read`] is one leg from its call to its end, [`order`]
//! puts what they bring in its place, [`format`] writes it, and [`body`] puts these together.
//!
//! # Why no leg waits for its turn
//!
//! Answers are joined in the order of the requests, and the fifth may be there before the first. A
//! leg that stopped reading until its turn came would keep its connection for as long; and the leg
//! whose turn it is may be waiting for that very connection, through another request that gathers
//! too. Pools with a hard cap turn that into a stall of everybody.
//!
//! So **a leg never waits for its turn**. From its head on it reads until it has ended, was cut, or
//! has filled its share of [`max_output`](Gather::max_output), and then it lets its body go, which
//! gives the connection back. What it has read stays in memory until it can be written. It follows
//! that a leg that holds a connection waits for its upstream only, and one that holds none, in the
//! pool's queue, for legs that do: there is no circle, whatever the width, the caps, the number of
//! origins and the depth of gathers within gathers. No leg is held up for the sake of this: all
//! begin at once, and a request's legs wait for another's only where the pool has no room. (A loop,
//! whose legs come back over the wire to wait for a connection of their own pool, is a circle by
//! itself, and ends in the pool's timeout.)
//!
//! What is read ahead is bounded all the same: by the cut, or by the leg's share, and so by
//! `max_output` for the whole. It is copied out of the upstream's buffers, so that a few bytes do
//! not keep a large one alive.
//!
//! What this cannot help: a client that reads slowly stops the task that polls the legs, since the
//! server polls a body only as fast as it can send it. The legs that have not ended by then keep
//! their connections, and the handle's total timeout ends them. A joined answer smaller than the
//! server's send buffer never comes to that.

mod body;
mod deadline;
mod format;
mod json;
mod legs;
mod order;
mod read;
mod report;
mod run;
mod spec;
mod stream;
mod text;

pub use self::{
    body::GatherBody, format::Format, legs::Leg, order::Order, spec::Gather, stream::Legs,
};
