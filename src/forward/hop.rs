//! What concerns one connection only, and so is never passed on (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, header::CONNECTION};

use super::list;

/// Hop by hop, whether `Connection` names them or not. `Trailer` is not among them: it has come to
/// describe the message.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            // The head of an upgrade to h2c, which is not passed on either.
            | "http2-settings"
            // Of the upstream's own address, which the client does not see.
            | "alt-svc"
    )
}

/// What an upstream may take for one of the fields that this proxy answers for: some, those behind
/// CGI and WSGI among them, cannot tell `-` from `_`.
const ANSWERED_FOR: [&str; 6] = [
    "content-length",
    "forwarded",
    "host",
    "te",
    "transfer-encoding",
    "x-real-ip",
];

/// Removes what is hop by hop and what `Connection` names. To be called before a field is added:
/// else the peer could have it taken away.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<_> = list::members(headers, CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    // Most messages have none of them, and one look at each name costs less than a search for each.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
}

/// Removes from a request what could be taken for a field of ours.
pub(super) fn strip_lookalikes(headers: &mut HeaderMap) {
    let lookalikes: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().as_bytes().contains(&b'_'))
        .filter(|name| {
            let plain = name.as_str().replace('_', "-");
            ANSWERED_FOR.contains(&plain.as_str()) || plain.starts_with("x-forwarded-")
        })
        .cloned()
        .collect();
    for name in lookalikes {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|&(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn every_line_and_case_of_connection_counts() {
        let mut headers = headers(&[
            ("connection", "close, X-One"),
            ("connection", "x-TWO,,"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
        ]);
        strip(&mut headers);
        assert_eq!(
            names(&headers),
            ["x-three"],
            "only what is end to end stays"
        );
    }

    #[test]
    fn a_name_with_underscores_does_not_pass_for_ours() {
        let mut headers = headers(&[
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_host", "evil"),
            ("content_length", "3"),
            ("x_other", "stays"),
        ]);
        strip_lookalikes(&mut headers);
        assert_eq!(names(&headers), ["x_other"]);
    }
}
