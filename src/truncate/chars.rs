use std::{mem, str::from_utf8};

use bytes::{Bytes, BytesMut};

use super::{
    Invalid,
    cut::{Flow, front, join},
    undecodable::Undecodable,
};

const BOM: &[u8] = b"\xEF\xBB\xBF";
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// The longest character of UTF-8, in bytes.
pub(super) const MAX_CHAR: u64 = 4;

/// Lets the first `left` characters of UTF-8 text pass.
///
/// A unit is a Unicode scalar value or, in malformed text, a maximal subpart: what a decoder would
/// show as one U+FFFD. Both are at most four bytes long, and where a unit ends is known from at most
/// four bytes from its start.
#[derive(Debug)]
pub(super) struct CharCut {
    left: u64,
    invalid: Invalid,
    /// A byte order mark may still come; it is not text and does not count.
    at_start: bool,
    /// The start of a character whose other bytes are not there yet: three bytes at most.
    carry: Bytes,
}

/// What of a piece of text may pass.
struct Scan {
    /// Where the last whole unit within the limit ends.
    end: usize,
    /// The same text with U+FFFD for what is malformed, if there is any and the policy is to
    /// replace it.
    replaced: Option<BytesMut>,
    malformed: bool,
}

impl CharCut {
    pub(super) fn new(limit: u64, invalid: Invalid) -> Self {
        Self {
            left: limit,
            invalid,
            at_start: true,
            carry: Bytes::new(),
        }
    }

    pub(super) fn cut(&mut self, chunk: Bytes) -> Flow {
        let chunk = self.join(chunk);
        let start = self.skip_mark(&chunk);
        let scan = self.scan(&chunk, start);
        if scan.end > 0 {
            self.at_start = false;
        }
        let kept = match scan.replaced {
            Some(text) => text.freeze(),
            None if self.invalid == Invalid::Replace => {
                front(&chunk.slice(start..), scan.end - start)
            }
            None => front(&chunk, scan.end),
        };
        if scan.malformed {
            return Flow::undecodable(kept, Undecodable::Text);
        }
        if self.left == 0 {
            return Flow::Limit {
                last: kept,
                dropped: scan.end < chunk.len(),
            };
        }
        self.carry = Bytes::copy_from_slice(&chunk[scan.end..]);
        Flow::More(kept)
    }

    pub(super) fn finish(&mut self) -> Result<Bytes, Undecodable> {
        let carry = mem::take(&mut self.carry);
        match self.invalid {
            _ if carry.is_empty() => Ok(carry),
            Invalid::Keep => Ok(carry),
            Invalid::Replace => Ok(Bytes::from_static(REPLACEMENT)),
            Invalid::Error => Err(Undecodable::Text),
        }
    }

    pub(super) fn rewrites(&self) -> bool {
        self.invalid == Invalid::Replace
    }

    pub(super) fn is_clear(&self) -> bool {
        self.carry.is_empty()
    }

    /// A unit is one to four bytes long and never gets shorter when it is replaced, so `left` units
    /// are at least `left` bytes, if the body has as many.
    pub(super) fn bounds(&self, lower: u64, upper: Option<u64>) -> (u64, u64) {
        let carry = self.carry.len() as u64;
        let mark = if self.at_start { BOM.len() as u64 } else { 0 };
        let replace = self.invalid == Invalid::Replace;

        let lower = lower.saturating_add(carry);
        let lower = lower.saturating_sub(if replace { mark } else { 0 });
        let growth = if replace { REPLACEMENT.len() as u64 } else { 1 };
        let upper = upper
            .unwrap_or(u64::MAX)
            .saturating_add(carry)
            .saturating_mul(growth)
            .min(self.left.saturating_mul(MAX_CHAR).saturating_add(mark));
        (lower.min(self.left), upper)
    }

    /// The carry and as much of the chunk as can matter, in one piece: where some of it is left out,
    /// there is still more in it than may pass.
    fn join(&mut self, mut chunk: Bytes) -> Bytes {
        if !self.carry.is_empty() {
            chunk.truncate(self.reach(chunk.len()));
        }
        join(&mut self.carry, chunk)
    }

    /// How many of `length` bytes can matter: those of `left` units and of a mark before them.
    fn reach(&self, length: usize) -> usize {
        let units = self.left.saturating_mul(MAX_CHAR);
        let most = units.saturating_add(BOM.len() as u64);
        usize::try_from(most).map_or(length, |most| most.min(length))
    }

    /// The length of the byte order mark that `text` starts with.
    fn skip_mark(&self, text: &[u8]) -> usize {
        if self.at_start && text.starts_with(BOM) {
            BOM.len()
        } else {
            0
        }
    }

    /// Counts units from `start` on, until the limit or the end of `text`.
    fn scan(&mut self, text: &[u8], start: usize) -> Scan {
        let view = &text[..start + self.reach(text.len() - start)];
        let mut scan = Scan {
            end: start,
            replaced: None,
            malformed: false,
        };
        loop {
            let rest = &view[scan.end..];
            let (valid, bad) = match from_utf8(rest) {
                Ok(_) => (rest, None),
                Err(error) => (&rest[..error.valid_up_to()], Some(error.error_len())),
            };
            let taken = take(&mut self.left, valid);
            if let Some(replaced) = &mut scan.replaced {
                replaced.extend_from_slice(&valid[..taken]);
            }
            scan.end += taken;
            let Some(Some(bad)) = bad else { break };
            if self.left == 0 {
                break;
            }
            match self.invalid {
                Invalid::Keep => {}
                Invalid::Replace => scan
                    .replaced
                    .get_or_insert_with(|| BytesMut::from(&view[start..scan.end]))
                    .extend_from_slice(REPLACEMENT),
                Invalid::Error => {
                    scan.malformed = true;
                    break;
                }
            }
            self.left -= 1;
            scan.end += bad;
        }
        scan
    }
}

/// Takes up to `left` characters of valid UTF-8 and returns how many bytes they are.
pub(super) fn take(left: &mut u64, valid: &[u8]) -> usize {
    // Most often what passes is ASCII.
    let plain = usize::try_from(*left)
        .ok()
        .and_then(|left| valid.get(..left));
    if let Some(plain) = plain.filter(|plain| plain.is_ascii()) {
        *left = 0;
        return plain.len();
    }
    let starts = |byte: &u8| byte & 0xC0 != 0x80;
    let count = valid.iter().filter(|byte| starts(byte)).count() as u64;
    if count <= *left {
        *left -= count;
        return valid.len();
    }
    // Fewer than the characters that are there, whose number is a usize.
    let nth = usize::try_from(mem::take(left)).unwrap_or(usize::MAX);
    let mut places = valid.iter().enumerate().filter(|(_, byte)| starts(byte));
    places.nth(nth).map_or(valid.len(), |(place, _)| place)
}
