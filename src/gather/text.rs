use bytes::{Bytes, BytesMut};

/// A character is at most four bytes long, so three can wait for their rest.
const MOST_HELD: usize = 3;
const BOM: &[u8] = b"\xEF\xBB\xBF";
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// Collects one leg's bytes as UTF-8, within a bound.
///
/// Malformed bytes become U+FFFD, as decoders do it, and a byte order mark at the start is left
/// out: what is joined with other text must be text itself. Nothing here depends on where the
/// chunks begin and end.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// Whole characters only.
    ready: BytesMut,
    /// The start of a character whose rest has not come.
    held: [u8; MOST_HELD],
    held_len: usize,
    started: bool,
    room: usize,
}

/// The bound is reached, and what came with it was left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Text {
    pub(super) fn with_room(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Takes a chunk in.
    pub(super) fn push(&mut self, chunk: Bytes) -> Result<(), Full> {
        match self.adopt(chunk) {
            Ok(()) => Ok(()),
            Err(chunk) => self.copy(&chunk),
        }
    }

    /// Takes a chunk over, if it is plain text that comes first, and nobody else's. Most legs are
    /// one such piece, cut off and copied already.
    fn adopt(&mut self, chunk: Bytes) -> Result<(), Bytes> {
        let is_first = self.ready.is_empty() && self.held_len == 0;
        let fits = chunk.len() <= self.room && !chunk.starts_with(BOM);
        if !(is_first && fits && chunk.is_unique() && std::str::from_utf8(&chunk).is_ok()) {
            return Err(chunk);
        }
        let text = chunk.try_into_mut()?;
        // It may be the last bit of a large buffer.
        if text.capacity() > 2 * text.len() {
            return Err(text.freeze());
        }
        self.started |= !text.is_empty();
        self.room -= text.len();
        self.ready = text;
        Ok(())
    }

    fn copy(&mut self, mut chunk: &[u8]) -> Result<(), Full> {
        while self.held_len > 0 && !chunk.is_empty() {
            let mut bytes = [0; MOST_HELD + 1];
            bytes[..self.held_len].copy_from_slice(&self.held[..self.held_len]);
            bytes[self.held_len] = chunk[0];
            chunk = &chunk[1..];
            let len = std::mem::take(&mut self.held_len) + 1;
            self.decode(&bytes[..len])?;
        }
        self.decode(chunk)
    }

    /// The upstream's text ends here: what was held stays incomplete.
    pub(super) fn finish(&mut self) -> Result<(), Full> {
        if std::mem::take(&mut self.held_len) > 0 {
            return self.append(REPLACEMENT);
        }
        Ok(())
    }

    /// What there is so far. The bound stays that of all of it.
    pub(super) fn take(&mut self) -> BytesMut {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// `bytes` starts where a character starts.
    fn decode(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.append_text(chunk.valid())?;
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_incomplete(invalid) {
                self.held[..invalid.len()].copy_from_slice(invalid);
                self.held_len = invalid.len();
            } else if !invalid.is_empty() {
                self.append(REPLACEMENT)?;
            }
        }
        Ok(())
    }

    fn append_text(&mut self, text: &str) -> Result<(), Full> {
        if text.is_empty() {
            return Ok(());
        }
        let mark = !self.started && text.as_bytes().starts_with(BOM);
        self.started = true;
        let text = if mark { &text[BOM.len()..] } else { text };
        if text.len() <= self.room {
            return self.append(text.as_bytes());
        }
        let end = (0..=self.room).rev().find(|&at| text.is_char_boundary(at));
        self.append(&text.as_bytes()[..end.unwrap_or(0)])?;
        Err(Full)
    }

    /// Appends one character, or as much as was seen to fit.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.started = true;
        if bytes.len() > self.room {
            return Err(Full);
        }
        self.room -= bytes.len();
        self.ready.extend_from_slice(bytes);
        Ok(())
    }
}

/// Whether these bytes may be the start of a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    let error = std::str::from_utf8(bytes).err();
    error.is_some_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]], room: usize) -> (String, bool) {
        let mut text = Text::with_room(room);
        let mut push = |chunk: &&[u8]| text.push(Bytes::copy_from_slice(chunk));
        let full = chunks.iter().try_for_each(&mut push).is_err() || text.finish().is_err();
        (String::from_utf8(text.take().to_vec()).unwrap(), full)
    }

    #[test]
    fn chunks_may_end_anywhere() {
        let bytes: &[u8] =
            b"\xEF\xBB\xBFa\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xA9\xED\xA0\x80\xFFz\xF0\x9F";
        let whole = "a\u{20AC}\u{1F600}\u{E9}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}z\u{FFFD}";
        for size in 1..=bytes.len() {
            let chunks: Vec<_> = bytes.chunks(size).collect();
            let (text, full) = read(&chunks, 100);
            assert_eq!(text, whole, "chunks of {size} bytes give the same text");
            assert!(!full, "there was room for all of it");
        }
    }

    #[test]
    fn the_bound_cuts_between_characters() {
        for (room, fits) in [(0, ""), (3, ""), (4, "\u{1F600}"), (5, "\u{1F600}a")] {
            let (text, full) = read(&["\u{1F600}a\u{E9}".as_bytes()], room);
            assert_eq!(text, fits, "{room} bytes hold whole characters only");
            assert!(full, "something was left out");
        }
        assert_eq!(read(&[b"abc"], 3), ("abc".into(), false), "it just fits");
        assert_eq!(
            read(&[b"ab\xFF"], 3),
            ("ab".into(), true),
            "U+FFFD counts as what it is"
        );
    }

    #[test]
    fn a_mark_is_left_out_at_the_start_only() {
        let (text, _) = read(&["\u{FEFF}a\u{FEFF}".as_bytes()], 100);
        assert_eq!(text, "a\u{FEFF}", "later it is a character like any other");
    }

    #[test]
    fn what_was_taken_still_counts() {
        let mut text = Text::with_room(4);
        text.push(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(text.take(), "abc");
        assert_eq!(
            text.push(Bytes::from_static(b"def")),
            Err(Full),
            "only one more byte has room"
        );
        assert_eq!(text.take(), "d");
    }

    #[test]
    fn a_large_buffer_is_not_kept_for_the_sake_of_little_text() {
        let mut whole = Bytes::from(vec![b'x'; 64 * 1024]);
        let piece = whole.split_off(64 * 1024 - 100);
        drop(whole);
        let mut text = Text::with_room(1000);
        text.push(piece).unwrap();
        assert!(text.take().capacity() < 1000, "the piece was copied out");
    }

    proptest::proptest! {
        #[test]
        fn it_reads_as_a_decoder_does(bytes: Vec<u8>, size in 1..8usize) {
            let chunks: Vec<_> = bytes.chunks(size).collect();
            let text = bytes.strip_prefix(BOM).unwrap_or(&bytes);
            let expected = (String::from_utf8_lossy(text).into_owned(), false);
            proptest::prop_assert_eq!(read(&chunks, usize::MAX), expected);
        }
    }
}
