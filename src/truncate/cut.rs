use std::mem;

use bytes::Bytes;
use http::HeaderMap;
use http_body::SizeHint;
use tower::BoxError;

use super::{
    bytes::ByteCut, chars::CharCut, charset::CharsetCut, coded::CodedCut, grpc::GrpcCut,
    undecodable::Undecodable,
};

/// Below this, a copy is cheaper than what a slice holds on to.
const SMALL: usize = 1024;

/// One of the cuts: a plain state machine over chunks, whose output does not depend on where the
/// chunks begin and end.
#[derive(Debug)]
pub(super) enum Cut {
    Bytes(ByteCut),
    Chars(CharCut),
    Charset(Box<CharsetCut>),
    Coded(Box<CodedCut>),
    Grpc(GrpcCut),
}

/// What becomes of one chunk.
#[derive(Debug)]
pub(super) enum Flow {
    /// This much may pass now; it is empty while a unit is still incomplete.
    More(Bytes),
    /// This is the last that may pass. `dropped` tells that the body is known to go on behind it.
    Limit { last: Bytes, dropped: bool },
    /// This much may pass, and then the body fails.
    Failed { before: Bytes, error: BoxError },
}

/// What a body that failed ends with: trailers that say so, or an error.
pub(super) type Fallout = Result<HeaderMap, BoxError>;

impl Cut {
    pub(super) fn cut(&mut self, chunk: Bytes) -> Flow {
        match self {
            Self::Bytes(cut) => cut.cut(chunk),
            Self::Chars(cut) => cut.cut(chunk),
            Self::Charset(cut) => cut.cut(&chunk),
            Self::Coded(cut) => cut.cut(chunk),
            Self::Grpc(cut) => cut.cut(chunk),
        }
    }

    /// What else comes of the chunks so far, before another is asked for.
    pub(super) fn resume(&mut self) -> Option<Flow> {
        match self {
            Self::Coded(cut) => cut.resume(),
            _ => None,
        }
    }

    /// Whether the rest of the body is that of the text, and not of a coding that may end in more
    /// bytes than the text has.
    pub(super) fn is_as_written(&self) -> bool {
        !matches!(self, Self::Coded(_))
    }

    /// Whether what passes is not byte for byte what the body had.
    pub(super) fn rewrites(&self) -> bool {
        match self {
            Self::Bytes(_) | Self::Grpc(_) => false,
            Self::Chars(cut) => cut.rewrites(),
            Self::Charset(_) | Self::Coded(_) => true,
        }
    }

    /// The body ended before the limit: what was held back and may pass after all, before the
    /// trailers if there are any.
    pub(super) fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<Bytes, Fallout> {
        match self {
            Self::Bytes(_) => Ok(Bytes::new()),
            Self::Chars(cut) => cut.finish().map_err(|error| Err(error.into())),
            Self::Charset(cut) => cut.finish().map_err(|error| Err(error.into())),
            Self::Coded(cut) => cut.finish(),
            Self::Grpc(cut) => cut.finish(trailers).map_err(Ok),
        }
    }

    /// The body failed before the limit.
    pub(super) fn fail(&self, error: BoxError) -> Fallout {
        match self {
            Self::Grpc(_) => Ok(GrpcCut::broken()),
            _ => Err(error),
        }
    }

    /// What a body must end with if it is cut.
    pub(super) fn status(&self) -> Option<HeaderMap> {
        match self {
            Self::Grpc(cut) => Some(cut.status()),
            _ => None,
        }
    }

    /// Whether nothing is held back, so that the end of the inner body is the end of this one.
    pub(super) fn is_clear(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::Chars(cut) => cut.is_clear(),
            // A decoder does not tell what it holds back.
            Self::Charset(_) | Self::Coded(_) => false,
            Self::Grpc(cut) => cut.is_clear(),
        }
    }

    /// What is still to come, given what the inner body says of itself.
    pub(super) fn size_hint(&self, inner: &SizeHint) -> SizeHint {
        let (lower, upper) = match self {
            Self::Bytes(cut) => cut.bounds(inner.lower(), inner.upper()),
            Self::Chars(cut) => cut.bounds(inner.lower(), inner.upper()),
            Self::Charset(cut) => cut.bounds(),
            Self::Coded(cut) => cut.bounds(),
            // Trailers follow, and a layer around us may turn them into content.
            Self::Grpc(_) => return SizeHint::default(),
        };
        let mut hint = SizeHint::new();
        hint.set_upper(upper);
        hint.set_lower(lower.min(upper));
        hint
    }
}

impl Flow {
    /// The limit is reached, and something behind it is dropped.
    pub(super) fn limit(last: Bytes) -> Self {
        let dropped = true;
        Self::Limit { last, dropped }
    }

    /// `before` may pass, and what follows it cannot be made out.
    pub(super) fn undecodable(before: Bytes, error: Undecodable) -> Self {
        let error = error.into();
        Self::Failed { before, error }
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

/// What was held back, and the chunk behind it.
pub(super) fn join(carry: &mut Bytes, chunk: Bytes) -> Bytes {
    if carry.is_empty() {
        return chunk;
    }
    let carry = mem::take(carry);
    [&carry[..], &chunk[..]].concat().into()
}
