//! Charsets other than UTF-8 cannot be decoded without the feature `charset`.

use std::convert::Infallible;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding(Infallible);

pub(super) struct Decoder(Infallible);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "no decoder is there that could stop")]
pub(super) enum Stop {
    InputEmpty,
    OutputFull,
    Malformed,
}

impl Encoding {
    pub(super) fn of(_: &str) -> Option<Self> {
        None
    }

    pub(super) fn decoder(self) -> Decoder {
        match self.0 {}
    }
}

impl Decoder {
    pub(super) fn decode(&mut self, _: &[u8], _: &mut String, _: bool) -> (Stop, usize) {
        match self.0 {}
    }
}
