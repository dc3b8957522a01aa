//! What the upstream is told of the client: `Forwarded` (RFC 7239) and the `X-Forwarded-*` that
//! came before it.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{Entry, FORWARDED},
};

use super::list;

/// What a [`Forward`](crate::Forward) does about `Forwarded` and `X-Forwarded-For`, `-Host` and
/// `-Proto`, by which an upstream learns who its client is. Each is sent on one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeaders {
    /// They say what this proxy knows. Whatever the client sent of them is dropped, every other
    /// `X-Forwarded-*` and `X-Real-IP` included, since anybody can write them.
    #[default]
    Replace,
    /// The client's, and this proxy's after them: for a proxy that is only reached through others,
    /// all of which are trusted. `X-Forwarded-Host` and `-Proto`, which are no lists, stay as the
    /// first of them wrote them.
    Append,
    /// The client's as they are, and nothing is added.
    Keep,
    /// None: the upstream is not told.
    Remove,
}

/// What is known of the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) is_https: bool,
}

/// Enough for what an element of `Forwarded` has beside the host.
const ROOM: usize = 96;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

impl ForwardedHeaders {
    pub(super) fn apply(self, headers: &mut HeaderMap, client: Client<'_>) {
        match self {
            Self::Replace => {
                remove(headers);
                client.append(headers);
            }
            Self::Append => {
                client.append(headers);
                join_all(headers);
            }
            Self::Keep => join_all(headers),
            Self::Remove => remove(headers),
        }
    }
}

fn remove(headers: &mut HeaderMap) {
    let is_one =
        |name: &str| matches!(name, "forwarded" | "x-real-ip") || name.starts_with("x-forwarded-");
    let names: Vec<_> = headers
        .keys()
        .filter(|name| is_one(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// Makes one line of several: an upstream may read the first only, or the last.
fn join_all(headers: &mut HeaderMap) {
    for name in [
        FORWARDED,
        X_FORWARDED_FOR,
        X_FORWARDED_HOST,
        X_FORWARDED_PROTO,
    ] {
        join(headers, name);
    }
}

fn join(headers: &mut HeaderMap, name: HeaderName) {
    if headers.get_all(&name).iter().nth(1).is_none() {
        return;
    }
    let joined = list::members(headers, &name).collect::<Vec<_>>().join(", ");
    match HeaderValue::try_from(joined) {
        Ok(value) => headers.insert(name, value),
        Err(_) => headers.remove(name),
    };
}

impl Client<'_> {
    fn append(self, headers: &mut HeaderMap) {
        let (forwarded, address) = self.element();
        if let Some(address) = address.and_then(|place| value(forwarded.slice(place))) {
            headers.append(X_FORWARDED_FOR, address);
        }
        if let (Some(host), Entry::Vacant(entry)) = (self.host, headers.entry(X_FORWARDED_HOST)) {
            entry.insert(host.clone());
        }
        if let Entry::Vacant(entry) = headers.entry(X_FORWARDED_PROTO) {
            entry.insert(HeaderValue::from_static(self.proto()));
        }
        if let Some(forwarded) = value(forwarded) {
            headers.append(FORWARDED, forwarded);
        }
    }

    /// What `Forwarded` says, and where in it the address stands. In one buffer, which both fields
    /// then share: this is done for every request.
    fn element(self) -> (Bytes, Option<Range<usize>>) {
        let host = self.host.map_or(&b""[..], HeaderValue::as_bytes);
        let mut text = Vec::with_capacity(ROOM + host.len());
        text.extend_from_slice(b"for=");
        let address = match self.address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => {
                let start = text.len();
                write_v4(&mut text, address);
                Some(start..text.len())
            }
            Some(IpAddr::V6(address)) => {
                text.extend_from_slice(b"\"[");
                let start = text.len();
                // A vector takes everything.
                let _ = write!(text, "{address}");
                let place = start..text.len();
                text.extend_from_slice(b"]\"");
                Some(place)
            }
            None => {
                text.extend_from_slice(b"unknown");
                None
            }
        };
        if self.host.is_some() {
            text.extend_from_slice(b";host=\"");
            text.extend_from_slice(host);
            text.extend_from_slice(b"\"");
        }
        text.extend_from_slice(b";proto=");
        text.extend_from_slice(self.proto().as_bytes());
        (text.into(), address)
    }

    fn proto(self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

/// As its own `Display` does, which takes ten times as long.
fn write_v4(text: &mut Vec<u8>, address: Ipv4Addr) {
    let mut digits = itoa::Buffer::new();
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text.push(b'.');
        }
        text.extend_from_slice(digits.format(octet).as_bytes());
    }
}

/// Addresses, and hosts that were found valid, are text; so it always is one.
fn value(text: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HeaderValue = HeaderValue::from_static("example.com:8080");

    /// What becomes of a client's attempt to pass for somebody else.
    fn applied(policy: ForwardedHeaders, address: Option<&str>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let client = Client {
            address: address.map(|address| address.parse().unwrap()),
            host: Some(&HOST),
            is_https: false,
        };
        policy.apply(&mut headers, client);
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn an_address_is_written_as_the_standard_library_does() {
        for address in ["0.0.0.0", "255.255.255.255", "10.0.100.7", "2001:db8::1"] {
            let lines = applied(ForwardedHeaders::Replace, Some(address));
            let expected = format!("x-forwarded-for: {address}");
            assert!(lines.contains(&expected), "{lines:?} has {expected}");
        }
    }

    #[test]
    fn by_default_nothing_of_the_clients_is_left() {
        assert_eq!(
            applied(ForwardedHeaders::default(), Some("::ffff:192.0.2.1")),
            [
                "forwarded: for=192.0.2.1;host=\"example.com:8080\";proto=http",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: example.com:8080",
                "x-forwarded-proto: http",
            ]
        );
        let unknown = applied(ForwardedHeaders::Replace, None);
        assert!(
            unknown[0].starts_with("forwarded: for=unknown;"),
            "{unknown:?}"
        );
        assert_eq!(
            unknown.len(),
            3,
            "an unknown address is not made up: {unknown:?}"
        );
    }

    #[test]
    fn appended_they_are_one_line_each() {
        assert_eq!(
            applied(ForwardedHeaders::Append, Some("2001:db8::1")),
            [
                "forwarded: for=6.6.6.6, for=\"[2001:db8::1]\";host=\"example.com:8080\";proto=http",
                "x-forwarded-for: 6.6.6.6, 7.7.7.7, 2001:db8::1",
                "x-forwarded-host: example.com:8080",
                "x-forwarded-prefix: /evil",
                "x-forwarded-proto: https",
                "x-real-ip: 6.6.6.6",
            ]
        );
    }

    #[test]
    fn kept_or_removed_they_tell_nothing_new() {
        assert_eq!(
            applied(ForwardedHeaders::Keep, Some("1.1.1.1"))[1],
            "x-forwarded-for: 6.6.6.6, 7.7.7.7"
        );
        assert!(applied(ForwardedHeaders::Remove, Some("1.1.1.1")).is_empty());
    }
}
