//! What can be done to a response, decided from its head alone.

use http::{HeaderMap, HeaderValue, StatusCode, header, response};
use http_body::SizeHint;

use super::{
    Invalid, Truncate,
    coding::Codings,
    encoding::Encoding,
    media::{self, Charset, Media},
    request::Asked,
    spec::Unit,
};

/// What is to be done with a response.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing: it has no content, or not of the kind that is cut.
    Exempt,
    /// It may be too long, and cannot be shortened.
    Uncuttable,
    Limit(Plan),
}

/// How a body is limited.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) fate: Fate,
    pub(super) reading: Reading,
    /// What has to be taken off before that.
    pub(super) codings: Option<Codings>,
    /// The length of the whole body, if it is known.
    pub(super) length: Option<u64>,
    /// The length of what passes, if it is known.
    pub(super) passes: Option<u64>,
    /// Whether there is a body, and not only the headers of one.
    pub(super) has_content: bool,
    /// The `Content-Range` of what passes, if this is partial content.
    pub(super) range: Option<HeaderValue>,
}

/// What is known of a body before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is within the limit, and every header stays true.
    Uncut,
    /// It is longer than the limit.
    Cut,
    Unknown,
}

/// How a body's units are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Bytes,
    Utf8,
    Charset(Encoding),
    Messages,
}

pub(super) fn decide(
    spec: &Truncate,
    asked: &Asked,
    head: &response::Parts,
    hint: &SizeHint,
) -> Verdict {
    if is_exempt(spec, asked, head.status) {
        return Verdict::Exempt;
    }
    let headers = &head.headers;
    let has_content = !asked.head && head.status != StatusCode::NOT_MODIFIED;
    let length = length(has_content, headers, hint);
    if !is_within(spec, headers, length) {
        let plan = shorten(spec, head, has_content, length);
        return plan.map_or(Verdict::Uncuttable, Verdict::Limit);
    }
    // It stays in its charset: its bytes are enough to hold it to its word.
    let reading = match reading(spec, Media::of(headers)) {
        None | Some(Reading::Charset(_)) => Reading::Bytes,
        Some(reading) => reading,
    };
    Verdict::Limit(Plan {
        fate: Fate::Uncut,
        reading,
        codings: None,
        length,
        passes: length,
        has_content,
        range: None,
    })
}

/// How to shorten a body, if that is possible.
fn shorten(
    spec: &Truncate,
    head: &response::Parts,
    has_content: bool,
    length: Option<u64>,
) -> Option<Plan> {
    let headers = &head.headers;
    let media = Media::of(headers);
    if !is_cuttable(spec, head, media) {
        return None;
    }
    let reading = reading(spec, media)?;
    let codings = codings(spec, headers)?;
    // What a coded body holds may be of any length.
    let length = length.filter(|_| codings.is_none());
    let fate = fate(spec, reading, length);
    let range = match head.status {
        StatusCode::PARTIAL_CONTENT => Some(shorter_range(spec, headers, length)?),
        _ => None,
    };
    let passes = match (fate, reading) {
        (_, Reading::Messages) => None,
        _ if spec.limit == 0 => Some(0),
        (Fate::Cut, Reading::Bytes) => Some(spec.limit),
        _ => None,
    };
    Some(Plan {
        fate,
        reading,
        codings,
        length,
        passes,
        has_content,
        range,
    })
}

/// What to take off a body, or `None` if that is not possible. Messages have their own codings.
fn codings(spec: &Truncate, headers: &HeaderMap) -> Option<Option<Codings>> {
    let names = media::codings(headers)?;
    if names.is_empty() {
        return Some(None);
    }
    let codings = Codings::of(&names).filter(|_| spec.unit != Unit::Messages);
    codings.map(Some)
}

fn is_exempt(spec: &Truncate, asked: &Asked, status: StatusCode) -> bool {
    let has_no_content = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    let is_tunnel = asked.connect && status.is_success();
    let is_ours = spec.any_status || status.is_success() || status == StatusCode::NOT_MODIFIED;
    status.is_informational() || has_no_content || is_tunnel || !is_ours
}

/// The length of the whole body. The body itself knows best; without it, only its header does.
fn length(has_content: bool, headers: &HeaderMap, hint: &SizeHint) -> Option<u64> {
    match hint.exact() {
        Some(exact) if has_content || exact > 0 => Some(exact),
        _ => stated_length(headers),
    }
}

/// The `Content-Length`, unless there are several or it is no number.
pub(super) fn stated_length(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let value = values.next()?.to_str().ok()?;
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    if values.next().is_some() || !is_number {
        return None;
    }
    value.parse().ok()
}

/// Whether the body is within the limit, whatever it is. No unit is shorter than a byte.
fn is_within(spec: &Truncate, headers: &HeaderMap, length: Option<u64>) -> bool {
    let is_as_written = !replaces(spec) && media::is_identity(headers);
    let is_short = |length| spec.unit != Unit::Messages && length <= spec.limit;
    length.is_some_and(|length| length == 0 || is_short(length) && is_as_written)
}

fn is_cuttable(spec: &Truncate, head: &response::Parts, media: Media<'_>) -> bool {
    let may_change = !spec.obey_no_transform
        || !media::lists(&head.headers, &header::CACHE_CONTROL, "no-transform");
    // A 304 seldom says its type. What it has are headers of a body that may be cut.
    let is_not_modified = head.status == StatusCode::NOT_MODIFIED;
    let is_right_type = match spec.unit {
        Unit::Messages => media.is_grpc(),
        _ if media.is_any_grpc() => false,
        _ => spec.any_type || media.is_plain_text() || is_not_modified,
    };
    may_change && is_right_type
}

/// How to count, or `None` if it takes a decoder that is not there.
fn reading(spec: &Truncate, media: Media<'_>) -> Option<Reading> {
    match spec.unit {
        Unit::Bytes => return Some(Reading::Bytes),
        Unit::Messages => return Some(Reading::Messages),
        Unit::Chars => {}
    }
    let encoding = || Encoding::of(media.label()?).map(Reading::Charset);
    match media.charset() {
        Charset::Utf8 => Some(Reading::Utf8),
        Charset::SingleByte if !replaces(spec) => Some(Reading::Bytes),
        // Without a decoder, what can be shown of it is its ASCII.
        Charset::SingleByte => encoding().or(Some(Reading::Utf8)),
        Charset::Other => encoding(),
    }
}

/// Of a body that is not known to be within the limit.
fn fate(spec: &Truncate, reading: Reading, length: Option<u64>) -> Fate {
    let limit = spec.limit;
    // A character is at most four bytes, and a byte order mark does not count.
    let most = match reading {
        Reading::Bytes => limit,
        Reading::Utf8 => limit.saturating_mul(4).saturating_add(3),
        Reading::Charset(_) | Reading::Messages => return Fate::Unknown,
    };
    if length.is_some_and(|length| length > most) {
        Fate::Cut
    } else {
        Fate::Unknown
    }
}

fn replaces(spec: &Truncate) -> bool {
    spec.unit == Unit::Chars && spec.invalid == Invalid::Replace
}

/// RFC 9110 §15.3.7: part of a range is a valid answer too, if it says which part it is.
fn shorter_range(spec: &Truncate, headers: &HeaderMap, length: Option<u64>) -> Option<HeaderValue> {
    let range = media::text(headers, &header::CONTENT_RANGE)?;
    let (range, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    let span = last.checked_sub(first)?.checked_add(1)?;
    if spec.unit != Unit::Bytes || spec.limit == 0 || length != Some(span) {
        return None;
    }
    let last = first + span.min(spec.limit) - 1;
    HeaderValue::try_from(format!("bytes {first}-{last}/{whole}")).ok()
}
