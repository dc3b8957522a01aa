use bytes::Bytes;
use http_body::SizeHint;

use super::{
    coding::{Codings, Decoder},
    cut::{Cut, Fallout, Flow},
    undecodable::Undecodable,
};

/// What may be read of a coded body in any case: its headers, and blocks that give little.
const ENCODED: u64 = 64 * 1024;

/// And for each unit of the limit: no unit has more than four bytes, and no coding doubles them.
const ENCODED_PER_UNIT: u64 = 8;

/// Takes the coding off a body and cuts what comes out.
///
/// What comes out is bounded by the limit, whatever goes in. What goes in has a bound of its own, for
/// codings allow for any amount of input that gives nothing.
#[derive(Debug)]
pub(super) struct CodedCut {
    decoder: Decoder,
    cut: Cut,
    /// How much more may go in.
    budget: u64,
    /// More than that has come.
    is_over: bool,
}

impl CodedCut {
    pub(super) fn new(codings: Codings, limit: u64, cut: Cut) -> Self {
        let budget = limit.saturating_mul(ENCODED_PER_UNIT);
        Self {
            decoder: codings.decoder(),
            cut,
            budget: budget.saturating_add(ENCODED),
            is_over: false,
        }
    }

    pub(super) fn cut(&mut self, mut chunk: Bytes) -> Flow {
        let length = chunk.len();
        chunk.truncate(usize::try_from(self.budget).unwrap_or(usize::MAX));
        self.is_over = chunk.len() < length;
        self.budget -= chunk.len() as u64;
        self.decoder.feed(chunk);
        self.resume().unwrap_or(Flow::More(Bytes::new()))
    }

    /// What else comes of the chunks so far: one of them may stand for a thousand times its length.
    pub(super) fn resume(&mut self) -> Option<Flow> {
        loop {
            let piece = match self.decoder.decode() {
                Ok(piece) => piece,
                Err(error) => return Some(fail(Undecodable::Coding(error))),
            };
            if piece.is_empty() {
                return self.is_over.then(|| fail(Undecodable::TooLong));
            }
            match self.cut.cut(piece) {
                Flow::More(data) if data.is_empty() => {}
                Flow::Limit { last, dropped } => {
                    let dropped = dropped || self.has_more();
                    return Some(Flow::Limit { last, dropped });
                }
                flow => return Some(flow),
            }
        }
    }

    pub(super) fn finish(&mut self) -> Result<Bytes, Fallout> {
        let whole = self.decoder.finish();
        whole.map_err(|error| Err(Undecodable::Coding(error).into()))?;
        self.cut.finish(None)
    }

    pub(super) fn bounds(&self) -> (u64, u64) {
        let unknown = SizeHint::default();
        let upper = self.cut.size_hint(&unknown).upper();
        (0, upper.unwrap_or(u64::MAX))
    }

    fn has_more(&mut self) -> bool {
        self.decoder.decode().is_ok_and(|piece| !piece.is_empty())
    }
}

fn fail(error: Undecodable) -> Flow {
    Flow::undecodable(Bytes::new(), error)
}
