use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::error::{Error, ErrorKind};

/// Where requests go: scheme, host and port (RFC 6454 §4, for http and https).
///
/// Hosts compare without regard to case, and a port that is left out is the scheme's own, so
/// `http://API.internal` and `http://api.internal:80` are one origin. Cheap to clone.
///
/// ```
/// use tower_upstream::Origin;
///
/// let origin: Origin = "https://API.internal".parse()?;
/// assert_eq!(origin, "https://api.internal:443".parse::<Origin>()?);
/// assert_eq!(origin.port(), 443);
/// assert_eq!(origin.to_string(), "https://api.internal:443");
/// # Ok::<(), tower_upstream::Error>(())
/// ```
#[derive(Clone)]
pub struct Origin {
    https: bool,
    /// As it came: its host is compared without regard to case, and `port` has its port.
    /// Kept whole because cloning it only counts a reference.
    authority: Authority,
    /// How much of it is the host. It holds no credentials, so the host comes first.
    host_len: usize,
    port: u16,
}

impl Origin {
    /// The origin of an absolute URI; path and query are left aside.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTarget`] for a URI that is relative, has another scheme than http or
    /// https, holds credentials, or has a port that is none.
    pub fn from_uri(uri: &Uri) -> Result<Self, Error> {
        let invalid = |why: &str| Error::new(ErrorKind::InvalidTarget).with_detail(why);
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(invalid(&format!(
                "{:?} is not an absolute URI: it needs a scheme and a host, as in http://example.com{}",
                without_query(uri),
                uri.path(),
            )));
        };
        let https = match scheme {
            s if *s == Scheme::HTTP => false,
            s if *s == Scheme::HTTPS => true,
            other => {
                return Err(invalid(&format!(
                    "the scheme {:?} is not supported: use http or https",
                    other.as_str()
                )));
            }
        };
        if authority.as_str().as_bytes().contains(&b'@') {
            // Not shown: this is where a password would stand.
            return Err(invalid(
                "the URI holds credentials: send them in an Authorization header instead",
            ));
        }
        let (host, port) = split_port(authority.as_str());
        if host.is_empty() || host == "[]" {
            return Err(invalid("the URI's host is empty"));
        }
        let port = match (port_number(port), port) {
            (Some(port), _) if port > 0 => port,
            // RFC 3986 §3.2.3: an empty port is the default one.
            (None, "" | ":") => default_port(https),
            (_, port) => {
                return Err(invalid(&format!(
                    "the port in {host}{port} is not one: use 1 to 65535"
                )));
            }
        };
        Ok(Self {
            https,
            authority: authority.clone(),
            host_len: host.len(),
            port,
        })
    }

    /// `"http"` or `"https"`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        if self.https { "https" } else { "http" }
    }

    /// The host's name or address as it was written; an IPv6 address stands in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.authority.as_str()[..self.host_len]
    }

    /// The port; where the URI had none, the scheme's own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// As it stands in a URI or a `Host` header: the port as it was written.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A URI of this origin.
    pub(crate) fn to_uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.https {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        // The three parts that an absolute URI must have are all there.
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// The same, holding on to no more memory than it needs: an authority cut out of a request's
    /// URI keeps that whole URI alive.
    pub(crate) fn compact(&self) -> Self {
        let authority = Authority::try_from(self.authority.as_str().as_bytes())
            // The bytes come from an authority; should that ever fail, the larger one does too.
            .unwrap_or_else(|_| self.authority.clone());
        Self { authority, ..*self }
    }
}

/// What connections may be shared between: requests of the same origin that speak the same protocol.
/// The TLS identity is the handle's, and so the same for every key of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    origin: Origin,
    protocol: Protocol,
}

/// How a connection's protocol is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http1,
    /// By prior knowledge (RFC 9113 §3.3) or, over TLS, because nothing else is offered.
    Http2,
    /// By ALPN: the first connection tells.
    Negotiated,
}

impl Key {
    pub(crate) fn new(origin: Origin, protocol: Protocol) -> Self {
        Self { origin, protocol }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn compact(&self) -> Self {
        Self {
            origin: self.origin.compact(),
            ..*self
        }
    }
}

/// The host, and the colon with what follows it. An IPv6 address has colons within its brackets.
fn split_port(authority: &str) -> (&str, &str) {
    let bytes = authority.as_bytes();
    let address = bytes.iter().position(|byte| *byte == b']').unwrap_or(0);
    let colon = bytes[address..].iter().position(|byte| *byte == b':');
    authority.split_at(colon.map_or(bytes.len(), |colon| address + colon))
}

/// The number behind the colon.
fn port_number(port: &str) -> Option<u16> {
    let digits = port.strip_prefix(':')?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

const fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// Scheme, authority (without credentials) and path: a query may hold a secret.
fn without_query(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |a| {
        a.as_str().rsplit_once('@').map_or(a.as_str(), |(_, a)| a)
    });
    let scheme = uri
        .scheme_str()
        .map_or_else(String::new, |s| format!("{s}://"));
    format!("{scheme}{authority}{}", uri.path())
}

impl FromStr for Origin {
    type Err = Error;

    /// Reads an absolute URI, as [`Origin::from_uri`] does.
    fn from_str(s: &str) -> Result<Self, Error> {
        let uri = s.parse::<Uri>().map_err(|source| {
            Error::new(ErrorKind::InvalidTarget)
                .with_detail("the origin is not a URI: it should look like http://example.com")
                .with_source(source)
        })?;
        Self::from_uri(&uri)
    }
}

impl TryFrom<&Uri> for Origin {
    type Error = Error;

    fn try_from(uri: &Uri) -> Result<Self, Error> {
        Self::from_uri(uri)
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.https == other.https
            && self.port == other.port
            && (self.host() == other.host() || self.host().eq_ignore_ascii_case(other.host()))
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // In pieces on the stack: hashing byte by byte is several times slower, and a lower-case
        // copy on the heap would cost every request an allocation.
        for piece in self.host().as_bytes().chunks(64) {
            let mut lower = [0; 64];
            let lower = &mut lower[..piece.len()];
            lower.copy_from_slice(piece);
            lower.make_ascii_lowercase();
            state.write(lower);
        }
        state.write_u32(u32::from(self.port) << 1 | u32::from(self.https));
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host().to_ascii_lowercase();
        write!(f, "{}://{host}:{}", self.scheme(), self.port)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn parse(s: &str) -> Result<Origin, Error> {
        s.parse()
    }

    #[test]
    fn equal_origins_hash_alike_whatever_case_and_default_port() {
        let hasher = RandomState::new();
        let host = "a-Rather-Long-Host-Name-That-Fills-More-Than-One-Piece-Of-Sixty-Four.example";
        for (a, b) in [
            ("http://a", "http://A:80/x?y"),
            ("https://a.b:", "https://a.B:443"),
            (
                format!("http://{host}").as_str(),
                format!("http://{}", host.to_lowercase()).as_str(),
            ),
        ] {
            let (a, b) = (parse(a).unwrap(), parse(b).unwrap());
            assert_eq!(a, b);
            assert_eq!(hasher.hash_one(&a), hasher.hash_one(&b), "{a} and {b}");
            assert_eq!(a.compact(), a, "a compact copy is the same origin");
        }
        assert_ne!(parse("http://a").unwrap(), parse("https://a").unwrap());
        assert_ne!(parse("http://a").unwrap(), parse("http://a:81").unwrap());
    }

    #[test]
    fn bad_targets_are_refused_by_name_and_secrets_are_not_shown() {
        for (uri, says) in [
            ("/a/b?token=secret", "\"/a/b\" is not an absolute URI"),
            ("ftp://a/", "the scheme \"ftp\" is not supported"),
            ("http://u:secret@a/", "holds credentials"),
            ("http://a:0/", "a:0 is not one"),
            ("http://a:99999/", "a:99999 is not one"),
            ("http://a:+80/", "a:+80 is not one"),
            ("http://[::1]:0/", "[::1]:0 is not one"),
            ("secret@a", "is not an absolute URI"),
        ] {
            let error = parse(uri).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidTarget, "{uri}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(says), "{uri}: {text}");
            assert!(!text.contains("secret"), "{uri} shows its secret: {text}");
        }
    }
}
