//! Which fields may follow a body (RFC 9110 §6.5.1).

use http::header;
use http_body::Frame;

/// Not those that frame or route the message, or tell who sends it or how to read it: whoever has
/// acted on the head would be overruled.
fn is_allowed(name: &header::HeaderName) -> bool {
    !matches!(
        *name,
        header::AUTHORIZATION
            | header::CACHE_CONTROL
            | header::CONNECTION
            | header::CONTENT_ENCODING
            | header::CONTENT_LENGTH
            | header::CONTENT_RANGE
            | header::CONTENT_TYPE
            | header::COOKIE
            | header::FORWARDED
            | header::HOST
            | header::LOCATION
            | header::MAX_FORWARDS
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::SET_COOKIE
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::VIA
            | header::WWW_AUTHENTICATE
    ) && !name.as_str().starts_with("x-forwarded-")
}

/// Drops from a frame of trailers what may not be there.
pub(super) fn filter<D>(mut frame: Frame<D>) -> Frame<D> {
    if let Some(trailers) = frame.trailers_mut() {
        let bad: Vec<_> = trailers
            .keys()
            .filter(|name| !is_allowed(name))
            .cloned()
            .collect();
        for name in bad {
            trailers.remove(name);
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn a_trailer_does_not_overrule_the_head() {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "checksum",
            "content-length",
            "set-cookie",
            "x-forwarded-for",
        ] {
            trailers.append(name, HeaderValue::from_static("0"));
        }
        let frame = filter(Frame::<()>::trailers(trailers));
        let mut left: Vec<_> = frame.trailers_ref().unwrap().keys().collect();
        left.sort_unstable_by_key(|name| name.as_str());
        assert_eq!(left, ["checksum", "grpc-status"]);
    }
}
