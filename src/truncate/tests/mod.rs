//! The cuts and the header rules against a scripted body. The rows are those of the behaviour table
//! that the crate keeps: the name of a test is the row's sentence. What takes a server or a client is
//! in the integration tests.
//!
//! Rows that are not kept here: 51 (a timeout is an error of the upstream's, and passes as one), 78 to
//! 81 (what becomes of the connection is its owner's business; the inner body is dropped in the poll
//! that reaches the limit), 96 to 100 (gathering). Rows that are not part of this release: 62, 63 (a
//! range asked for in advance), 65 (validators of a part), 68, 69 (events and lines), and the clusters
//! of row 22. Row 55 cannot be made to happen, row 93 is answered with "uncuttable".

mod bytes;
mod chars;
#[cfg(feature = "charset")]
mod charset;
#[cfg(feature = "decompression")]
mod coding;
mod grpc;
mod head;
mod properties;
mod special;
mod support;
mod trailers;
mod uncuttable;
