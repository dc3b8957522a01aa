use std::fmt;

use bytes::Bytes;

use super::{
    Invalid,
    chars::{MAX_CHAR, take},
    cut::Flow,
    encoding::{Decoder, Encoding, Stop},
    undecodable::Undecodable,
};

/// How much is decoded at once: what may be decoded beyond the limit is less.
const PIECE: usize = 4096;

/// Lets the first `left` characters of text in another charset pass, as UTF-8.
///
/// A byte order mark at the start is left out. What is malformed has no form in UTF-8 that could be
/// kept: it becomes U+FFFD, unless it is an error.
pub(super) struct CharsetCut {
    decoder: Decoder,
    left: u64,
    invalid: Invalid,
}

/// What came of a piece of input.
struct Decoded {
    text: String,
    /// Something was decoded, or was there to decode, behind the limit.
    dropped: bool,
    malformed: bool,
}

impl CharsetCut {
    pub(super) fn new(encoding: Encoding, limit: u64, invalid: Invalid) -> Self {
        Self {
            decoder: encoding.decoder(),
            left: limit,
            invalid,
        }
    }

    pub(super) fn cut(&mut self, chunk: &[u8]) -> Flow {
        let decoded = self.decode(chunk, false);
        let text = decoded.text.into();
        if decoded.malformed {
            return Flow::undecodable(text, Undecodable::Text);
        }
        if self.left == 0 {
            return Flow::Limit {
                last: text,
                dropped: decoded.dropped,
            };
        }
        Flow::More(text)
    }

    pub(super) fn finish(&mut self) -> Result<Bytes, Undecodable> {
        let decoded = self.decode(&[], true);
        if decoded.malformed {
            return Err(Undecodable::Text);
        }
        Ok(decoded.text.into())
    }

    /// How many bytes a character takes in UTF-8 is not known from its charset.
    pub(super) fn bounds(&self) -> (u64, u64) {
        (0, self.left.saturating_mul(MAX_CHAR))
    }

    fn decode(&mut self, mut input: &[u8], last: bool) -> Decoded {
        let mut decoded = Decoded {
            text: String::new(),
            dropped: false,
            malformed: false,
        };
        let mut piece = String::with_capacity(PIECE);
        loop {
            piece.clear();
            let (stop, read) = self.decoder.decode(input, &mut piece, last);
            input = &input[read..];
            let taken = take(&mut self.left, piece.as_bytes());
            decoded.text.push_str(&piece[..taken]);
            decoded.dropped = taken < piece.len() || !input.is_empty();
            match stop {
                _ if decoded.dropped && self.left == 0 => return decoded,
                Stop::InputEmpty => return decoded,
                Stop::OutputFull => {}
                Stop::Malformed if self.left == 0 => {
                    decoded.dropped = true;
                    return decoded;
                }
                Stop::Malformed if self.invalid == Invalid::Error => {
                    decoded.malformed = true;
                    return decoded;
                }
                Stop::Malformed => {
                    decoded.text.push(char::REPLACEMENT_CHARACTER);
                    self.left -= 1;
                }
            }
        }
    }
}

impl fmt::Debug for CharsetCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CharsetCut")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
