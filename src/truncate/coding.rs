//! Content codings, by the codecs of `async-compression`: plain functions over buffers, so that what
//! is read stays in our hands.

use std::{fmt, io};

use async_compression::{
    codecs::{
        BrotliDecoder, DecodeV2, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
        zstd::params::DParameter,
    },
    core::util::{PartialBuffer, WriteBuffer},
};
use bytes::{Buf, Bytes};

/// How much is decoded at once: what may be decoded beyond a limit is less.
const PIECE: usize = 4096;

/// RFC 9659: the window of the coding `zstd` is at most 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The codings of a body, as they were applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codings(Coding, Option<Coding>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Takes coded bytes, and gives what they stand for piece by piece.
pub(super) struct Decoder {
    /// In the order in which they are taken off.
    stages: Vec<Stage>,
}

/// One coding.
struct Stage {
    coding: Coding,
    /// `None` before the first byte.
    codec: Option<Box<dyn DecodeV2 + Send + Sync>>,
    input: Bytes,
    /// The last piece was full: the codec may hold more of it.
    is_full: bool,
    /// The member that began last has ended.
    is_ended: bool,
    /// What came of the last piece, if that came out before it.
    error: Option<io::Error>,
}

// === impl Codings ===

impl Codings {
    /// The codings with these names, if there are one or two and all are known.
    pub(super) fn of(names: &[&str]) -> Option<Self> {
        match names {
            [only] => Some(Self(Coding::of(only)?, None)),
            [first, last] => Some(Self(Coding::of(first)?, Some(Coding::of(last)?))),
            _ => None,
        }
    }

    pub(super) fn decoder(self) -> Decoder {
        let stages = self.1.into_iter().chain([self.0]);
        Decoder {
            stages: stages.map(Stage::new).collect(),
        }
    }
}

impl Coding {
    fn of(name: &str) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        Some(match () {
            // RFC 9110 §8.4.1.3: x-gzip is gzip.
            () if is("gzip") || is("x-gzip") => Self::Gzip,
            () if is("deflate") => Self::Deflate,
            () if is("br") => Self::Brotli,
            () if is("zstd") => Self::Zstd,
            () => return None,
        })
    }

    /// A codec for a body that begins with `first`.
    fn codec(self, first: u8) -> Box<dyn DecodeV2 + Send + Sync> {
        match self {
            Self::Gzip => Box::new(GzipDecoder::new()),
            // It means zlib's format, but there are servers that leave its frame away. The frame
            // begins with the method, which is 8.
            Self::Deflate if first & 0x0F == 8 => Box::new(ZlibDecoder::new()),
            Self::Deflate => Box::new(DeflateDecoder::new()),
            Self::Brotli => Box::new(BrotliDecoder::new()),
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                Box::new(ZstdDecoder::new_with_params(&[window]))
            }
        }
    }

    /// Whether a body may be several members, one behind the other.
    fn has_members(self) -> bool {
        matches!(self, Self::Gzip | Self::Zstd)
    }
}

// === impl Decoder ===

impl Decoder {
    /// Gives it more input. What it had before must have been decoded.
    pub(super) fn feed(&mut self, chunk: Bytes) {
        if let Some(first) = self.stages.first_mut() {
            debug_assert!(
                first.input.is_empty(),
                "input is decoded before more is read"
            );
            first.input = chunk;
        }
    }

    /// The next piece. It is empty when there is no more without more input.
    ///
    /// # Errors
    ///
    /// If the input is not what its coding says.
    pub(super) fn decode(&mut self) -> io::Result<Bytes> {
        decode(&mut self.stages)
    }

    /// The input has ended.
    ///
    /// # Errors
    ///
    /// If that is too early.
    pub(super) fn finish(&self) -> io::Result<()> {
        let is_whole = |stage: &Stage| stage.codec.is_none() || stage.is_ended;
        if self.stages.iter().all(is_whole) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// The next piece of the last stage, whose input are the pieces of those before it.
fn decode(stages: &mut [Stage]) -> io::Result<Bytes> {
    let Some((last, before)) = stages.split_last_mut() else {
        return Ok(Bytes::new());
    };
    loop {
        let piece = last.decode()?;
        if !piece.is_empty() {
            return Ok(piece);
        }
        last.input = decode(before)?;
        if last.input.is_empty() {
            return Ok(Bytes::new());
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codings = self.stages.iter().map(|stage| stage.coding);
        f.debug_list().entries(codings).finish()
    }
}

// === impl Stage ===

impl Stage {
    fn new(coding: Coding) -> Self {
        Self {
            coding,
            codec: None,
            input: Bytes::new(),
            is_full: false,
            is_ended: false,
            error: None,
        }
    }

    /// The next piece of what `input` stands for. If it is empty, so is the input.
    fn decode(&mut self) -> io::Result<Bytes> {
        while !self.input.is_empty() || self.is_full || self.error.is_some() {
            let piece = self.step()?;
            if !piece.is_empty() {
                return Ok(piece);
            }
        }
        Ok(Bytes::new())
    }

    fn step(&mut self) -> io::Result<Bytes> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let Some(codec) = &mut self.codec else {
            let first = self.input.first().copied().unwrap_or_default();
            self.codec = Some(self.coding.codec(first));
            return Ok(Bytes::new());
        };
        let had_input = !self.input.is_empty();
        if self.is_ended && had_input {
            if !self.coding.has_members() {
                self.input.clear();
                return Ok(Bytes::new());
            }
            codec.reinit()?;
            self.is_ended = false;
        }
        let mut piece = vec![0; PIECE];
        let mut input = PartialBuffer::new(&self.input[..]);
        let mut output = WriteBuffer::new_initialized(&mut piece);
        let result = codec.decode(&mut input, &mut output);
        let (read, written) = (input.written_len(), output.written_len());
        self.input.advance(read);
        self.is_full = written == PIECE;
        match result {
            Ok(is_ended) => {
                self.is_ended = is_ended;
                if read == 0 && written == 0 && had_input && !is_ended {
                    return Err(io::Error::other("the decoder makes no progress"));
                }
            }
            // Asked for more of a full piece, a codec may complain that there is neither input nor
            // any more output.
            Err(_) if !had_input => self.is_full = false,
            // How much comes out before an error must not depend on how the input was chunked.
            Err(error) => self.error = Some(error),
        }
        piece.truncate(written);
        Ok(piece.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A codec that reads nothing, gives nothing, and does not end.
    struct Stuck;

    impl DecodeV2 for Stuck {
        fn reinit(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn decode(
            &mut self,
            _: &mut PartialBuffer<&[u8]>,
            _: &mut WriteBuffer<'_>,
        ) -> io::Result<bool> {
            Ok(false)
        }

        fn flush(&mut self, _: &mut WriteBuffer<'_>) -> io::Result<bool> {
            Ok(true)
        }

        fn finish(&mut self, _: &mut WriteBuffer<'_>) -> io::Result<bool> {
            Ok(true)
        }
    }

    #[test]
    fn a_codec_that_makes_no_progress_is_an_error_and_no_endless_loop() {
        let mut stage = Stage::new(Coding::Brotli);
        stage.codec = Some(Box::new(Stuck));
        stage.input = Bytes::from_static(b"x");
        assert!(stage.decode().is_err());
    }
}
