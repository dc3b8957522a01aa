//! Which requests can be forwarded, and to where.

use http::{
    HeaderMap, HeaderValue, Method, Uri, Version,
    header::{HOST, MAX_FORWARDS},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::answer::Answer;
use crate::origin::Origin;

/// Refuses what has no place behind a reverse proxy, and answers what was meant for this one.
pub(super) fn check_method(parts: &mut Parts) -> Result<(), Answer> {
    match parts.method {
        // A tunnel to anywhere; and an echo of the request, credentials that were added included.
        Method::CONNECT | Method::TRACE => Err(Answer::NOT_IMPLEMENTED),
        Method::OPTIONS => count_down(&mut parts.headers),
        _ => Ok(()),
    }
}

/// RFC 9110 §7.6.2. What is no number has no meaning, and is passed on.
fn count_down(headers: &mut HeaderMap) -> Result<(), Answer> {
    let left = headers
        .get(MAX_FORWARDS)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match left {
        Some(0) => Err(Answer::NO_OPTIONS),
        Some(left) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(())
        }
        None => Ok(()),
    }
}

/// The host that the client asked for: one, well formed, and the same wherever it stands. `None`
/// for HTTP/1.0 without one.
pub(super) fn host(parts: &Parts) -> Result<Option<HeaderValue>, Answer> {
    let mut lines = parts.headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(Answer::bad_request("the request has more than one Host"));
    }
    let target = parts.uri.authority().map(Authority::as_str);
    let host = match (target, line) {
        (None, None) if parts.version == Version::HTTP_10 => return Ok(None),
        (None, None) => return Err(Answer::bad_request("the request has no Host")),
        (None, Some(line)) => line.clone(),
        (Some(target), None) => HeaderValue::from_str(target).map_err(|_| INVALID_HOST)?,
        (Some(target), Some(line)) if is_same(target, line, parts.uri.scheme()) => line.clone(),
        (Some(_), Some(_)) => {
            return Err(Answer::bad_request(
                "the Host and the request's target differ",
            ));
        }
    };
    if host.to_str().is_ok_and(is_host) {
        Ok(Some(host))
    } else {
        Err(INVALID_HOST)
    }
}

const INVALID_HOST: Answer = Answer::bad_request("the request's Host is not valid");

fn is_same(target: &str, line: &HeaderValue, scheme: Option<&Scheme>) -> bool {
    let default = if scheme == Some(&Scheme::HTTPS) {
        ":443"
    } else {
        ":80"
    };
    let plain = |host: &str| {
        let host = host.strip_suffix(default).unwrap_or(host);
        host.strip_suffix(':').unwrap_or(host).to_ascii_lowercase()
    };
    line.to_str().is_ok_and(|line| plain(line) == plain(target))
}

/// Whether this is a host with or without a port, in its plainest form: no credentials, no list, no
/// zone, no percent-encoding, about all of which parsers differ.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", port)
        }
        None => {
            let colon = text.bytes().position(|b| b == b':');
            text.split_at(colon.unwrap_or(text.len()))
        }
    };
    let port_is_valid = match port.strip_prefix(':') {
        Some("") => true,
        Some(digits) => {
            digits.bytes().all(|b| b.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    port_is_valid
        && !host.is_empty()
        && host.bytes().all(plain)
        && !host.as_bytes().split(|b| *b == b'.').any(is_disguised)
}

/// A label in punycode that is plain ASCII once decoded: another name for a host that has one.
fn is_disguised(label: &[u8]) -> bool {
    let prefix = label.get(..4).unwrap_or_default();
    prefix.eq_ignore_ascii_case(b"xn--") && label.ends_with(b"-")
}

/// The request's path and query at the origin, as they came, byte by byte.
pub(super) fn at(origin: &Origin, uri: &Uri, method: &Method) -> Result<Uri, Answer> {
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Err(INVALID_TARGET);
    }
    let path = match uri.path_and_query() {
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    };
    let is_whole_server = *method == Method::OPTIONS && path == "*";
    if !path.as_str().starts_with('/') && !is_whole_server {
        return Err(INVALID_TARGET);
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if origin.is_https() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    parts.authority = Some(origin.authority().clone());
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| INVALID_TARGET)
}

const INVALID_TARGET: Answer = Answer::bad_request("the request's target cannot be forwarded");

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;

    fn parts(uri: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_plain_host_is_taken() {
        for good in [
            "a",
            "A.b-c_d",
            "1.2.3.4:80",
            "[::1]:8080",
            "[2001:db8::1]",
            "a:",
            "xn--bcher-kva.example",
        ] {
            assert!(host(&parts("/", &[good])).is_ok(), "{good} is a host");
        }
        for bad in [
            "",
            "a@b",
            "a,b",
            "a b",
            "a/b",
            "a:0",
            "a:65536",
            "a:+1",
            "a:b",
            "[fe80::1%25eth0]",
            "[::1",
            "[1.2.3.4]",
            "[::1]x",
            "a%2e",
            "xn--example-.org",
            "XN--Example-",
            ":80",
            "a:80:80",
        ] {
            assert!(host(&parts("/", &[bad])).is_err(), "{bad:?} is no host");
        }
    }

    #[test]
    fn two_hosts_are_none() {
        assert!(host(&parts("/", &["a", "a"])).is_err(), "not even if alike");
        assert!(
            host(&parts("/", &[])).is_err(),
            "RFC 9112 §3.2 asks for one"
        );
        assert!(host(&parts("http://a/", &["b"])).is_err(), "they differ");
        for (uri, line) in [
            ("http://A/", "a:80"),
            ("https://a:443/", "a"),
            ("http://a/", "a:"),
        ] {
            assert!(host(&parts(uri, &[line])).is_ok(), "{uri} is at {line}");
        }
        assert_eq!(host(&parts("http://a:8/", &[])).unwrap().unwrap(), "a:8");
    }

    #[test]
    fn path_and_query_are_kept_to_the_byte() {
        let origin = "http://up:1".parse().unwrap();
        let at = |uri: &str| {
            let uri = Uri::try_from(uri).unwrap();
            at(&origin, &uri, &Method::GET).map(|uri| uri.to_string())
        };
        for path in ["/", "/a%2Fb/../c//", "/?", "/a?b=%00&b;c?d", "//evil/x"] {
            assert_eq!(at(path).unwrap(), format!("http://up:1{path}"));
        }
        assert_eq!(at("http://other/x?y").unwrap(), "http://up:1/x?y");
        assert!(at("ftp://other/x").is_err());
        assert!(at("*").is_err(), "only OPTIONS may ask for it");
    }

    /// What is answered to a request with this method, and the `Max-Forwards` it goes on with.
    fn checked(method: Method, left: Option<&str>) -> (Option<StatusCode>, Option<String>) {
        let mut request = Request::builder().method(method);
        if let Some(left) = left {
            request = request.header(MAX_FORWARDS, left);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let answer = check_method(&mut parts).err();
        let left = parts.headers.get(MAX_FORWARDS);
        (
            answer.map(|answer| answer.status),
            left.map(|left| left.to_str().unwrap().to_owned()),
        )
    }

    #[test]
    fn a_tunnel_and_an_echo_are_not_forwarded() {
        for method in [Method::CONNECT, Method::TRACE] {
            let (answer, _) = checked(method.clone(), None);
            assert_eq!(answer, Some(StatusCode::NOT_IMPLEMENTED), "{method}");
        }
        for method in [Method::GET, Method::OPTIONS, Method::DELETE] {
            assert_eq!(checked(method.clone(), None).0, None, "{method}");
        }
    }

    #[test]
    fn an_options_goes_as_many_hops_as_it_may() {
        assert_eq!(checked(Method::OPTIONS, Some("0")).0, Some(StatusCode::OK));
        for (left, then) in [("1", "0"), ("10", "9"), ("no number", "no number")] {
            let gone_on = (None, Some(then.to_owned()));
            assert_eq!(checked(Method::OPTIONS, Some(left)), gone_on);
        }
        let unread = (None, Some("0".to_owned()));
        assert_eq!(
            checked(Method::GET, Some("0")),
            unread,
            "its hops are counted for OPTIONS alone"
        );
    }

    #[test]
    fn only_the_oldest_version_does_without_a_host() {
        let mut old = parts("/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(host(&old).ok(), Some(None));
        let mut old = parts("/", &["a"]);
        old.version = Version::HTTP_10;
        assert_eq!(host(&old).ok().flatten().unwrap(), "a", "it may have one");
    }

    #[test]
    fn only_options_asks_for_the_whole_server() {
        let origin = "http://up:1".parse().unwrap();
        let whole = Uri::from_static("*");
        let at = at(&origin, &whole, &Method::OPTIONS).ok().unwrap();
        assert_eq!(at.path(), "*");
        assert_eq!(at.authority().unwrap(), "up:1");
    }
}
