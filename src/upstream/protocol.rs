use http::HeaderMap;

use crate::{
    grpc::is_grpc,
    origin::{Origin, Protocol},
};

/// Which protocols the handle speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Protocols {
    /// HTTP/2 where it is negotiated, or where a request cannot do without it.
    #[default]
    Auto,
    Http1Only,
    Http2Only,
}

impl Protocols {
    /// What a request to this origin goes by. Its own version says nothing: that is often just the
    /// one of the request it was made from.
    pub(super) fn choose(self, origin: &Origin, headers: &HeaderMap) -> Protocol {
        match self {
            Self::Http2Only => Protocol::Http2,
            Self::Auto if origin.is_https() => Protocol::Negotiated,
            // gRPC needs HTTP/2; only a handle that was told to do without does.
            Self::Auto if is_grpc(headers) => Protocol::Http2,
            Self::Auto | Self::Http1Only => Protocol::Http1,
        }
    }

    /// What is offered in TLS, the preferred one first.
    #[cfg(feature = "rustls")]
    pub(super) fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Auto => &[b"h2", b"http/1.1"],
            Self::Http1Only => &[b"http/1.1"],
            Self::Http2Only => &[b"h2"],
        }
    }
}
