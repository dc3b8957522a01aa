//! Heads that are HTTP, and no answer all the same.

use http::{
    HeaderMap, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
};

/// What a request allows its answer to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    switch: bool,
}

impl Allowed {
    pub(super) fn by(request: &HeaderMap) -> Self {
        Self {
            switch: request.contains_key(UPGRADE),
        }
    }

    /// What is wrong with the head, if it is no answer. What comes behind it is not to be trusted.
    pub(super) fn fault<B>(self, head: &Response<B>) -> Option<&'static str> {
        if head.status() == StatusCode::SWITCHING_PROTOCOLS && !self.switch {
            return Some("it has changed to a protocol that was not offered");
        }
        let headers = head.headers();
        if head.version() == Version::HTTP_2 || !headers.contains_key(TRANSFER_ENCODING) {
            return None;
        }
        if headers.contains_key(CONTENT_LENGTH) {
            // RFC 9112 §6.3: who sends both may want two readers to find two ends.
            return Some("it has a length beside its transfer coding");
        }
        // hyper undoes the one coding that may come unasked (RFC 9112 §7.4), and would pass the
        // content on as it is under any other.
        (!is_chunked_alone(headers)).then_some("its transfer coding is not chunked alone")
    }
}

fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let first = codings.next().map(<[u8]>::trim_ascii);
    first.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}
