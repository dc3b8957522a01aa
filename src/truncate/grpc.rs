use std::mem;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::cut::{Flow, front, join};

/// A flag, and the message's length as four bytes.
const PREFIX: u64 = 5;

const OK: &str = "0";
const RESOURCE_EXHAUSTED: &str = "8";
const INTERNAL: &str = "13";
const UNAVAILABLE: &str = "14";

/// Lets the first `left` messages pass, whole.
#[derive(Debug)]
pub(super) struct GrpcCut {
    left: u64,
    longest: Option<u64>,
    take: bool,
    /// A message is longer than `longest`.
    is_too_long: bool,
    /// How much of a message that may pass is still to come, its prefix included.
    inside: u64,
    /// The start of a prefix whose other bytes are not there yet.
    carry: Bytes,
}

impl GrpcCut {
    pub(super) fn new(limit: u64, longest: Option<u64>, take: bool) -> Self {
        Self {
            left: limit,
            longest,
            take,
            is_too_long: false,
            inside: 0,
            carry: Bytes::new(),
        }
    }

    /// The limit is known to be reached only when another message begins: what follows the last one
    /// may be the trailers.
    pub(super) fn cut(&mut self, chunk: Bytes) -> Flow {
        let chunk = join(&mut self.carry, chunk);
        let mut end = 0;
        loop {
            end += self.advance(chunk.len() - end);
            let next = &chunk[end..];
            if next.is_empty() {
                break;
            }
            if self.left == 0 {
                return Flow::limit(front(&chunk, end));
            }
            let Some(prefix) = next.first_chunk() else {
                break;
            };
            let length = length(prefix);
            if self.longest.is_some_and(|longest| length > longest) {
                self.is_too_long = true;
                return Flow::limit(front(&chunk, end));
            }
            self.left -= 1;
            self.inside = PREFIX + length;
        }
        self.carry = Bytes::copy_from_slice(&chunk[end..]);
        Flow::More(front(&chunk, end))
    }

    /// The body ended. A client takes a good status for the end of a good stream, also in the middle
    /// of a message: there it must not come, and a bad one takes its place.
    pub(super) fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<Bytes, HeaderMap> {
        let own = trailers.and_then(|trailers| trailers.get("grpc-status"));
        let failed = own.is_some_and(|code| code != OK);
        if self.is_clear() || failed {
            return Ok(mem::take(&mut self.carry));
        }
        let why = "the upstream ended the response inside a message";
        Err(status(INTERNAL, why))
    }

    /// The trailers of a body that is cut here.
    pub(super) fn status(&self) -> HeaderMap {
        if self.is_too_long {
            return status(RESOURCE_EXHAUSTED, "a message is longer than its limit");
        }
        if self.take {
            return status(OK, "");
        }
        status(
            RESOURCE_EXHAUSTED,
            "the response has more messages than its limit",
        )
    }

    /// The trailers of a body that failed. What has passed of a message before them is no harm: their
    /// status is bad.
    pub(super) fn broken() -> HeaderMap {
        status(UNAVAILABLE, "the upstream broke off the response")
    }

    pub(super) fn is_clear(&self) -> bool {
        self.inside == 0 && self.carry.is_empty()
    }

    /// Goes up to `available` bytes further in the message at hand, and tells how many it went.
    fn advance(&mut self, available: usize) -> usize {
        let step = usize::try_from(self.inside).map_or(available, |inside| inside.min(available));
        self.inside -= step as u64;
        step
    }
}

/// The head of a response that refuses what would have been too long.
pub(super) fn refuse(headers: &mut HeaderMap) {
    let why = "the response is too long, and cannot be cut";
    headers.extend(status(RESOURCE_EXHAUSTED, why));
}

fn length(&[_, a, b, c, d]: &[u8; 5]) -> u64 {
    u64::from(u32::from_be_bytes([a, b, c, d]))
}

/// `message` has no character that would have to be percent-encoded.
fn status(code: &'static str, message: &'static str) -> HeaderMap {
    let mut map = HeaderMap::new();
    let field = |name, value| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    map.extend([field("grpc-status", code)]);
    if !message.is_empty() {
        map.extend([field("grpc-message", message)]);
    }
    map
}
