//! Bodies cut at a limit while they stream.
//!
//! A cut is more than a shorter body: the head goes out before anyone knows how long the body will
//! be, and every header that speaks of the whole (its length, its validators, its digests) is wrong
//! for a part. So the work is split in three. [`verdict`] decides from the head alone what can be
//! known, and [`head`] rewrites the headers to say no more than that; the cuts ([`bytes`], [`chars`],
//! [`charset`], [`grpc`], and [`coded`] around them) are plain structs that take a chunk and say what to pass on; [`body`] polls.

mod apply;
mod body;
mod bytes;
mod chars;
mod charset;
mod coded;
#[cfg_attr(not(feature = "decompression"), path = "coding_off.rs")]
mod coding;
mod cut;
#[cfg_attr(not(feature = "charset"), path = "encoding_off.rs")]
mod encoding;
mod grpc;
mod head;
mod layer;
mod media;
mod outcome;
mod request;
mod service;
mod spec;
mod step;
mod undecodable;
mod verdict;

#[cfg(test)]
mod tests;

pub use self::{
    body::TruncateBody,
    layer::TruncateLayer,
    outcome::{Truncation, TruncationOutcome},
    service::{TruncateFuture, TruncateService},
    spec::{Invalid, Truncate, Uncuttable},
};
pub(crate) use self::{request::Asked, undecodable::Undecodable};
