//! What the headers say a body is: its media type, its charset, its codings.

use http::{HeaderMap, HeaderName, header};

/// A `Content-Type`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Media<'a> {
    essence: Option<&'a str>,
    parameters: &'a str,
}

/// How the characters of a text are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// UTF-8, or nothing said, or a name that nobody knows.
    Utf8,
    /// One byte a character.
    SingleByte,
    /// One that takes a decoder to count in.
    Other,
}

impl<'a> Media<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let Some(value) = text(headers, &header::CONTENT_TYPE) else {
            return Self::default();
        };
        // A type holds no quoted string, so its end is plain to see.
        let end = value.bytes().position(|byte| byte == b';');
        let (essence, parameters) = value.split_at(end.unwrap_or(value.len()));
        Self {
            essence: Some(essence.trim_ascii()),
            parameters,
        }
    }

    /// Text that stays text when its end is missing: an event stream loses its last event, and
    /// makes its reader come back for more.
    pub(super) fn is_plain_text(&self) -> bool {
        self.starts_with("text/") && !self.is("text/event-stream")
    }

    pub(super) fn is_missing(&self) -> bool {
        self.essence.is_none()
    }

    pub(super) fn is_text(&self) -> bool {
        self.starts_with("text/")
    }

    /// Length-prefixed messages, in gRPC's own framing or in one of gRPC-Web's.
    pub(super) fn is_any_grpc(&self) -> bool {
        self.starts_with("application/grpc")
    }

    /// gRPC's own framing.
    pub(super) fn is_grpc(&self) -> bool {
        self.is("application/grpc") || self.starts_with("application/grpc+")
    }

    /// The charset's name.
    pub(super) fn label(&self) -> Option<&'a str> {
        if self.parameters.is_empty() {
            return None;
        }
        split_unquoted(self.parameters).find_map(|part| parameter(part, "charset"))
    }

    pub(super) fn charset(&self) -> Charset {
        // What nearly all text says, without a search.
        if self.parameters.eq_ignore_ascii_case("; charset=utf-8") {
            return Charset::Utf8;
        }
        match self.label() {
            // RFC 8259 §8.1: JSON is UTF-8, whatever a parameter says.
            Some(label) if !self.is("application/json") => charset(label),
            _ => Charset::Utf8,
        }
    }

    fn is(&self, essence: &str) -> bool {
        self.essence
            .is_some_and(|own| own.eq_ignore_ascii_case(essence))
    }

    fn starts_with(&self, prefix: &str) -> bool {
        self.essence.is_some_and(|own| starts_with(own, prefix))
    }
}

fn starts_with(text: &str, prefix: &str) -> bool {
    let start = text.as_bytes().get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

fn ends_with(text: &str, suffix: &str) -> bool {
    let start = text.len().checked_sub(suffix.len());
    start.is_some_and(|start| text.as_bytes()[start..].eq_ignore_ascii_case(suffix.as_bytes()))
}

/// The same type, of text that is UTF-8 now.
pub(super) fn as_utf8(kind: &str) -> String {
    let parts = split_unquoted(kind).map(|part| match parameter(part, "charset") {
        Some(_) => " charset=utf-8",
        None => part,
    });
    parts.collect::<Vec<_>>().join(";")
}

/// The codings of a body in the order in which they were applied, but for those that change nothing;
/// `None` if they cannot be read.
pub(super) fn codings(headers: &HeaderMap) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        names.extend(value.to_str().ok()?.split(',').map(str::trim));
    }
    names.retain(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
    Some(names)
}

/// Whether the body is as it was written: no coding, or none that changes it.
pub(super) fn is_identity(headers: &HeaderMap) -> bool {
    codings(headers).is_some_and(|names| names.is_empty())
}

/// Whether a comma-separated field has `token` among its members.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|member| member.trim().eq_ignore_ascii_case(token))
}

/// The one value of a field, if it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn charset(label: &str) -> Charset {
    const SINGLE: &[&str] = &[
        "iso-8859",
        "iso8859",
        "iso_8859",
        "latin",
        "l1",
        "windows-125",
        "windows-874",
        "cp125",
        "x-cp125",
        "dos-874",
        "tis-620",
        "koi",
        "cskoi",
        "macintosh",
        "x-mac-",
        "ibm866",
        "cp866",
        "ibm819",
        "cp819",
        "csisolatin",
        "x-user-defined",
    ];
    const OTHER: &[&str] = &[
        "utf-16",
        "utf-32",
        "utf-7",
        "ucs-2",
        "csunicode",
        "unicode",
        "shift",
        "sjis",
        "x-sjis",
        "csshift",
        "ms_kanji",
        "ms932",
        "windows-31j",
        "gb",
        "x-gbk",
        "csgb",
        "chinese",
        "big5",
        "cn-big5",
        "x-x-big5",
        "csbig5",
        "euc-",
        "x-euc-",
        "cseuc",
        "ks_c_5601",
        "ksc",
        "korean",
        "windows-949",
        "iso-2022-",
        "csiso2022",
        "hz-gb",
    ];
    // Some of UTF-8's older names begin like those of UTF-16.
    if ends_with(label, "utf-8") || ends_with(label, "utf8") {
        return Charset::Utf8;
    }
    let among = |names: &[&str]| names.iter().any(|name| starts_with(label, name));
    if among(SINGLE) {
        Charset::SingleByte
    } else if among(OTHER) {
        Charset::Other
    } else {
        Charset::Utf8
    }
}

/// The value of the parameter `part`, if that is its name.
fn parameter<'a>(part: &'a str, name: &str) -> Option<&'a str> {
    let (own, value) = part.split_once('=')?;
    let is_it = own.trim_ascii().eq_ignore_ascii_case(name);
    is_it.then(|| value.trim_ascii().trim_matches('"'))
}

/// Splits at semicolons, but not at those within a quoted string.
fn split_unquoted(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    value.split(move |character| {
        let literal = std::mem::replace(&mut escaped, false);
        match character {
            _ if literal => {}
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            ';' => return !quoted,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media_of(value: &'static str, check: impl Fn(Media<'_>)) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        check(Media::of(&headers));
    }

    #[test]
    fn a_charset_is_found_in_any_case_quoted_or_not_and_nowhere_else() {
        let cases = [
            ("text/plain", Charset::Utf8),
            ("text/plain; charset=UTF-8", Charset::Utf8),
            ("TEXT/PLAIN;Charset=\"ISO-8859-1\"", Charset::SingleByte),
            ("text/plain; charset=us-ascii", Charset::Utf8),
            ("text/plain; charset=nobody-knows", Charset::Utf8),
            ("text/plain; charset=unicode-1-1-utf-8", Charset::Utf8),
            ("text/plain; charset=unicode11utf8", Charset::Utf8),
            ("text/plain; charset=Shift_JIS", Charset::Other),
            ("text/plain; charset=utf-16", Charset::Other),
            ("text/plain; charset=latin1", Charset::SingleByte),
            ("text/plain; charset=cskoi8r", Charset::SingleByte),
            ("text/plain; charset=csUnicode", Charset::Other),
            ("text/plain; charset=gb18030", Charset::Other),
            ("text/plain; a=\"b; charset=utf-16\"", Charset::Utf8),
            ("text/plain; a=\"\\\";\"; charset=utf-16", Charset::Other),
            ("application/json; charset=utf-16", Charset::Utf8),
        ];
        for (value, expected) in cases {
            media_of(value, |media| {
                assert_eq!(media.charset(), expected, "the charset of {value}");
            });
        }
    }

    #[test]
    fn only_text_that_survives_a_cut_is_plain_text() {
        let cases = [
            ("text/plain", true),
            ("Text/HTML; charset=utf-8", true),
            ("text/event-stream", false),
            ("text/event-stream;charset=utf-8", false),
            ("application/json", false),
            ("multipart/mixed; boundary=x", false),
            ("image/png", false),
            ("tex", false),
        ];
        for (value, expected) in cases {
            media_of(value, |media| {
                assert_eq!(
                    media.is_plain_text(),
                    expected,
                    "{value} may be cut as text"
                );
            });
        }
    }

    #[test]
    fn a_body_without_a_coding_or_with_identity_is_as_it_was_written() {
        let cases = [
            ("identity", true),
            ("Identity, ", true),
            ("gzip", false),
            ("identity, br", false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            assert!(is_identity(&headers), "no coding at all");
            headers.insert(header::CONTENT_ENCODING, value.parse().unwrap());
            assert_eq!(is_identity(&headers), expected, "content-encoding: {value}");
        }
    }
}
