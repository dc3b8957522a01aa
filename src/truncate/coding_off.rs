//! Content codings cannot be taken off without the feature `decompression`.

use std::{convert::Infallible, io};

use bytes::Bytes;

#[derive(Clone, Copy, Debug)]
pub(super) struct Codings(Infallible);

#[derive(Debug)]
pub(super) struct Decoder(Infallible);

impl Codings {
    pub(super) fn of(_: &[&str]) -> Option<Self> {
        None
    }

    pub(super) fn decoder(self) -> Decoder {
        match self.0 {}
    }
}

impl Decoder {
    pub(super) fn feed(&mut self, _: Bytes) {
        match self.0 {}
    }

    pub(super) fn decode(&mut self) -> io::Result<Bytes> {
        match self.0 {}
    }

    pub(super) fn finish(&self) -> io::Result<()> {
        match self.0 {}
    }
}
