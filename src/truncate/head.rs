//! The headers of a body that is cut, or may be.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    Truncate,
    media::{self, Media},
    request::Asked,
    spec::Unit,
    step::Mark,
    verdict::{Fate, Plan, Reading, stated_length},
};

/// RFC 9651 §3.3.1: no integer in a structured field is longer than fifteen digits.
const LONGEST_INTEGER: u64 = 999_999_999_999_999;

/// Digests of the content or of the representation (RFC 9530, and what was before it).
const DIGESTS: [&str; 5] = [
    "content-digest",
    "repr-digest",
    "unencoded-digest",
    "digest",
    "content-md5",
];

/// Makes the headers true of what passes. `trailer` is what may come behind it.
pub(super) fn rewrite(
    headers: &mut HeaderMap,
    spec: &Truncate,
    plan: &Plan,
    trailer: Option<&Mark>,
) {
    // It belongs to the connection that the body came over, and our framing is our server's.
    headers.remove(header::TRANSFER_ENCODING);
    if plan.fate == Fate::Uncut {
        if stated_length(headers) != plan.length {
            headers.remove(header::CONTENT_LENGTH);
        }
        return;
    }
    headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = plan.passes {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    forget_digests(headers);
    if let Some(range) = &plan.range {
        // Part of a range is still part of the same representation: its validators stay true.
        headers.insert(header::CONTENT_RANGE, range.clone());
    } else {
        forget_the_whole(headers);
    }
    if plan.codings.is_some() {
        headers.remove(header::CONTENT_ENCODING);
        if !media::lists(headers, &header::VARY, "accept-encoding") {
            let vary = HeaderValue::from_static("accept-encoding");
            headers.append(header::VARY, vary);
        }
    }
    if let Reading::Charset(_) = plan.reading
        && let Some(kind) = media::text(headers, &header::CONTENT_TYPE)
        && let Ok(kind) = HeaderValue::try_from(media::as_utf8(kind))
    {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if plan.fate == Fate::Cut {
        headers.remove(header::TRAILER);
        if let Some(value) = content_truncated(spec, plan.length) {
            headers.insert(spec.header.clone(), value);
        }
    }
    if let Some((name, _)) = trailer.map(AsRef::as_ref)
        && plan.reading != Reading::Messages
    {
        headers.append(header::TRAILER, HeaderValue::from(name.clone()));
    }
}

/// The trailer for a body that may be cut, where one can arrive: gRPC always has trailers.
///
/// The header has told of a cut that is certain; of one that is not, only a trailer can.
pub(super) fn trailer(spec: &Truncate, asked: &Asked, plan: &Plan) -> Option<Mark> {
    let is_grpc = plan.reading == Reading::Messages;
    let is_open = plan.fate == Fate::Unknown && plan.passes.is_none() && plan.has_content;
    if !is_open || !(asked.trailers || is_grpc) {
        return None;
    }
    let value = content_truncated(spec, plan.length.filter(|_| !is_grpc))?;
    Some(Box::new((spec.header.clone(), value)))
}

/// Removes what would not match the content any more, from headers or trailers.
pub(super) fn forget_digests(headers: &mut HeaderMap) {
    for name in DIGESTS {
        headers.remove(name);
    }
}

/// Removes what speaks of the whole representation.
fn forget_the_whole(headers: &mut HeaderMap) {
    let of_the_whole: [HeaderName; 3] = [
        header::ETAG,
        header::LAST_MODIFIED,
        header::CONTENT_LOCATION,
    ];
    for name in of_the_whole {
        headers.remove(name);
    }
    if let Some(ranges) = headers.get_mut(header::ACCEPT_RANGES) {
        *ranges = HeaderValue::from_static("none");
    }
    let media = Media::of(headers);
    if media.is_text() || media.is_missing() {
        // HTML may end inside a tag, and text without a type may look like something else now.
        headers
            .entry(header::X_CONTENT_TYPE_OPTIONS)
            .or_insert(HeaderValue::from_static("nosniff"));
    }
}

/// The value of `Content-Truncated`, a structured field: what cut the body short, and where.
fn content_truncated(spec: &Truncate, length: Option<u64>) -> Option<HeaderValue> {
    let unit = match spec.unit {
        Unit::Bytes => "byte",
        Unit::Chars => "char",
        Unit::Messages => "message",
    };
    let integer = |value: &u64| *value <= LONGEST_INTEGER;
    let mut value = String::from("length");
    if integer(&spec.limit) {
        value += &format!(";limit={}", spec.limit);
    }
    value += &format!(";unit={unit}");
    if let Some(length) = length.filter(integer) {
        value += &format!(";size={length}");
    }
    HeaderValue::try_from(value).ok()
}
