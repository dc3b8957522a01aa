//! The cuts and the header rules against a scripted body. The rows are those of the behaviour table
//! that the crate keeps: the name of a test is the row's sentence.

mod bytes;
mod chars;
#[cfg(feature = "charset")]
mod charset;
#[cfg(feature = "decompression")]
mod coding;
mod grpc;
mod head;
mod properties;
mod support;
mod trailers;
mod uncuttable;
