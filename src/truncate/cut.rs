use std::{error, fmt};

use bytes::Bytes;
use http_body::SizeHint;

use super::{bytes::ByteCut, chars::CharCut};

/// Below this, a copy is cheaper than what a slice holds on to.
const SMALL: usize = 1024;

/// One of the cuts: a plain state machine over chunks, whose output does not depend on where the
/// chunks begin and end.
#[derive(Debug)]
pub(super) enum Cut {
    Bytes(ByteCut),
    Chars(CharCut),
}

/// What becomes of one chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// This much may pass now; it is empty while a unit is still incomplete.
    More(Bytes),
    /// This is the last that may pass. `dropped` tells that the body is known to go on behind it.
    Limit { last: Bytes, dropped: bool },
    /// This much is well formed; what follows is not, and the policy is to fail.
    Malformed { before: Bytes },
}

/// The text is not UTF-8, and [`Invalid::Error`](super::Invalid::Error) asks for it to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Cut {
    pub(super) fn cut(&mut self, chunk: Bytes) -> Flow {
        match self {
            Self::Bytes(cut) => cut.cut(chunk),
            Self::Chars(cut) => cut.cut(chunk),
        }
    }

    /// The body ended before the limit: what was held back and may pass after all.
    pub(super) fn finish(&mut self) -> Result<Bytes, Malformed> {
        match self {
            Self::Bytes(_) => Ok(Bytes::new()),
            Self::Chars(cut) => cut.finish(),
        }
    }

    /// Whether nothing is held back, so that the end of the inner body is the end of this one.
    pub(super) fn is_clear(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::Chars(cut) => cut.is_clear(),
        }
    }

    /// What is still to come, given what the inner body says of itself.
    pub(super) fn size_hint(&self, inner: &SizeHint) -> SizeHint {
        let (lower, upper) = match self {
            Self::Bytes(cut) => cut.bounds(inner.lower(), inner.upper()),
            Self::Chars(cut) => cut.bounds(inner.lower(), inner.upper()),
        };
        let mut hint = SizeHint::new();
        hint.set_upper(upper);
        hint.set_lower(lower.min(upper));
        hint
    }
}

/// The first `end` bytes of `chunk`.
///
/// A slice keeps the whole buffer it is cut from alive, and that buffer may be a connection's: a
/// small piece of a large chunk is copied instead.
pub(super) fn front(chunk: &Bytes, end: usize) -> Bytes {
    if end == chunk.len() {
        return chunk.clone();
    }
    if end <= SMALL || end < chunk.len() / 4 {
        return Bytes::copy_from_slice(&chunk[..end]);
    }
    chunk.slice(..end)
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is not valid UTF-8")
    }
}

impl error::Error for Malformed {}
