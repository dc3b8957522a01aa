//! Charsets other than UTF-8, by `encoding_rs`.

use encoding_rs::DecoderResult;

/// A charset that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding(&'static encoding_rs::Encoding);

/// Turns text into UTF-8, piece by piece.
pub(super) struct Decoder(encoding_rs::Decoder);

/// Why a decoder stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    InputEmpty,
    OutputFull,
    Malformed,
}

impl Encoding {
    pub(super) fn of(label: &str) -> Option<Self> {
        encoding_rs::Encoding::for_label_no_replacement(label.as_bytes()).map(Self)
    }

    pub(super) fn decoder(self) -> Decoder {
        Decoder(self.0.new_decoder())
    }
}

impl Decoder {
    /// Fills `output` up to its capacity and returns how much of `input` that took. `last` tells that
    /// nothing follows the input.
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        output: &mut String,
        last: bool,
    ) -> (Stop, usize) {
        let decoder = &mut self.0;
        let (result, read) = decoder.decode_to_string_without_replacement(input, output, last);
        let stop = match result {
            DecoderResult::InputEmpty => Stop::InputEmpty,
            DecoderResult::OutputFull => Stop::OutputFull,
            DecoderResult::Malformed(..) => Stop::Malformed,
        };
        (stop, read)
    }
}
