//! Writes `generated/words.rs` from `words.proto`. Needs `protoc`, which Debian has as
//! `protobuf-compiler`; nothing else does, since what it writes is checked in.
//!
//!     cargo run --manifest-path examples/tonic_service/generate/Cargo.toml

use std::{io, path::Path};

fn main() -> io::Result<()> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    tonic_prost_build::configure()
        .out_dir(example.join("generated"))
        .compile_protos(&[example.join("words.proto")], &[example])
}
