use http::{HeaderMap, HeaderValue, Method, Request, Version, header};

use super::media::{self, Media};

/// What of a request decides how its response can be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The response has the headers of a body, but none.
    pub(super) head: bool,
    /// A success is not a response with content but a tunnel.
    pub(super) connect: bool,
    /// Trailers can arrive: HTTP/2 has them always, HTTP/1.1 for a client that asks for them.
    pub(super) trailers: bool,
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let is_asked = media::lists(request.headers(), &header::TE, "trailers");
        let trailers = request.version() >= Version::HTTP_2 || is_asked;
        Self {
            trailers,
            ..Self::with(request.method())
        }
    }

    pub(super) fn with(method: &Method) -> Self {
        Self {
            head: method == Method::HEAD,
            connect: method == Method::CONNECT,
            trailers: false,
        }
    }
}

pub(super) fn prepare<B>(request: &mut Request<B>) {
    if Media::of(request.headers()).is_any_grpc() {
        return;
    }
    let may_ask_for_less = matches!(*request.method(), Method::GET | Method::HEAD);
    if may_ask_for_less && !request.headers().is_empty() {
        ask_for_the_whole(request.headers_mut());
    }
    let identity = HeaderValue::from_static("identity");
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT_ENCODING, identity);
}

fn ask_for_the_whole(headers: &mut HeaderMap) {
    let parts = [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ];
    for name in parts {
        headers.remove(name);
    }
    for name in ["want-content-digest", "want-repr-digest", "want-digest"] {
        headers.remove(name);
    }
}
