use http::{HeaderName, Method, Request, Response, response};
use http_body::Body;

use super::{TruncateBody, TruncateLayer, apply, request, request::Asked};

/// How much of a response's body to let through, and what to do with one that cannot be cut.
///
/// A body within the limit passes as it is, headers and all. A longer one ends cleanly at the limit,
/// and its headers say no more than is still true: `Content-Length` becomes the new length or goes;
/// validators, digests and `Content-Location`, which speak of the whole, go; and
/// `Content-Truncated: length;limit=50;unit=char;size=120` is added when the cut is certain before
/// the head goes out. Where it is not, the same comes as a trailer, if the client can take one (HTTP/2, or
/// `TE: trailers`). `Accept-Ranges` becomes `none`, text gets `X-Content-Type-Options: nosniff`, and what
/// was decompressed `Vary: accept-encoding`. The status stays what it was. [`Truncation`](crate::Truncation), in the
/// response's extensions, always tells how it ended.
///
/// The inner body is dropped in the very poll that reaches the limit, so a connection behind it is
/// free from then on. An error before the limit is passed on, as a status if it is gRPC: a body that
/// failed never ends well.
///
/// # What is cut
///
/// Successful responses whose content is text, without a coding and in UTF-8 or a charset of one byte
/// a character. With the feature `charset`, text in other charsets is cut too, and becomes UTF-8; with
/// the feature `decompression`, `gzip`, `deflate`, `br` and `zstd` are taken off, two of them at most,
/// and of the compressed bytes no more are read than 64 KiB and eight for each unit of the limit. By
/// [`bytes`](Self::bytes) any charset is cut.
///
/// Everything else cannot be cut and falls under [`uncuttable`](Self::uncuttable): other types, which
/// are invalid without their end (unless [`any_type`](Self::any_type) says otherwise), event streams,
/// other codings and charsets, gRPC, and partial content, but for a single range of bytes. With
/// [`grpc_messages`](Self::grpc_messages) it is the other way round: only gRPC is cut. What is known to
/// be within the limit by its length always passes as it is.
///
/// Responses without content (to `HEAD`; 204, 205, 304), upgrades and tunnels are never cut; those to
/// `HEAD` and 304 get the headers that the content would have had.
///
/// # Example
///
/// As a layer, around any service, on the server's side or the client's:
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_upstream::Truncate;
///
/// let app: Router = Router::new()
///     .route("/", get(async || "naïve café"))
///     .layer(Truncate::chars(5).layer());
/// ```
///
/// On a response at hand:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use tower_upstream::Truncate;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut response = http::Response::new(Full::<Bytes>::from("naïve café, and much more than that"));
/// response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
///
/// let response = Truncate::chars(5).apply(response);
/// assert_eq!(response.headers()["content-truncated"], "length;limit=5;unit=char;size=37");
/// assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "naïve");
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Truncate {
    pub(super) unit: Unit,
    pub(super) limit: u64,
    pub(super) invalid: Invalid,
    pub(super) uncuttable: Uncuttable,
    pub(super) any_type: bool,
    pub(super) any_status: bool,
    pub(super) obey_no_transform: bool,
    pub(super) take: bool,
    pub(super) longest_message: Option<u64>,
    pub(super) header: HeaderName,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Chars,
    Messages,
}

/// What becomes of malformed UTF-8 in a body that is cut by characters.
///
/// Whatever the policy, each maximal subpart counts as one character, as decoders count it that show
/// it as one U+FFFD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// It passes as it is: what is let through is byte for byte what the body had. The default. In
    /// text that had to be decoded from another charset it becomes U+FFFD.
    #[default]
    Keep,
    /// The result is proper UTF-8, to be joined with other text: U+FFFD stands for what is
    /// malformed, and a byte order mark at the start is left out.
    Replace,
    /// The body fails there.
    Error,
}

/// What becomes of a response that cannot be cut and is not known to be within the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Uncuttable {
    /// It passes whole: the limit is for the reader's convenience. The default.
    #[default]
    PassThrough,
    /// A 502 takes its place (`RESOURCE_EXHAUSTED` if it is gRPC): the limit is for safety.
    Refuse,
}

impl Truncate {
    /// Lets `limit` bytes through. The last character of a text may be cut in two.
    pub fn bytes(limit: u64) -> Self {
        Self::new(Unit::Bytes, limit)
    }

    /// Lets `limit` characters through: Unicode scalar values, as Python's `text[:limit]` and Rust's
    /// [`char`] count them. A byte order mark at the start does not count.
    pub fn chars(limit: u64) -> Self {
        Self::new(Unit::Chars, limit)
    }

    /// Lets `limit` messages of a gRPC response through, each whole.
    ///
    /// A stream that goes on ends there with the status `RESOURCE_EXHAUSTED`, so that nobody takes it
    /// for complete; with [`take`](Self::take) it ends with `OK`. A stream of exactly `limit` messages
    /// keeps its own status. If the upstream breaks off, the status is `UNAVAILABLE`; if it ends well
    /// inside a message, which clients take for a good end, `INTERNAL`. gRPC-Web is not cut from outside: put the layer
    /// inside the one that translates it.
    pub fn grpc_messages(limit: u64) -> Self {
        Self::new(Unit::Messages, limit)
    }

    fn new(unit: Unit, limit: u64) -> Self {
        Self {
            unit,
            limit,
            invalid: Invalid::default(),
            uncuttable: Uncuttable::default(),
            any_type: false,
            any_status: false,
            obey_no_transform: false,
            take: false,
            longest_message: None,
            header: HeaderName::from_static("content-truncated"),
        }
    }

    /// What to do with malformed UTF-8 when cutting by characters. Default [`Invalid::Keep`].
    pub fn invalid(mut self, policy: Invalid) -> Self {
        self.invalid = policy;
        self
    }

    /// What to do with a response that cannot be cut. Default [`Uncuttable::PassThrough`].
    pub fn uncuttable(mut self, policy: Uncuttable) -> Self {
        self.uncuttable = policy;
        self
    }

    /// Cuts every content type as if it were text, and a body without one. The result may be
    /// invalid as what its type says it is. By default only `text/*` is cut, event streams excepted.
    pub fn any_type(mut self) -> Self {
        self.any_type = true;
        self
    }

    /// Cuts error responses too. By default only successful ones are cut, and others pass whole.
    pub fn any_status(mut self) -> Self {
        self.any_status = true;
        self
    }

    /// Takes `Cache-Control: no-transform` for a body that cannot be cut, as RFC 9110 §7.7 demands
    /// of a proxy. By default it is not looked at: who writes the response may write it shorter.
    pub fn obey_no_transform(mut self) -> Self {
        self.obey_no_transform = true;
        self
    }

    /// Ends a gRPC response that is cut with the status `OK`: the first messages are all that is
    /// wanted. By default it ends with `RESOURCE_EXHAUSTED`.
    pub fn take(mut self) -> Self {
        self.take = true;
        self
    }

    /// The length in bytes of the longest gRPC message that may pass, as it is on the wire. Before a
    /// longer one the response ends with `RESOURCE_EXHAUSTED`, and nothing of it passes. Default: any
    /// length.
    pub fn longest_message(mut self, bytes: u64) -> Self {
        self.longest_message = Some(bytes);
        self
    }

    /// The name of the header that tells of a cut. Default `content-truncated`.
    pub fn header(mut self, name: HeaderName) -> Self {
        self.header = name;
        self
    }

    /// A layer that does this to every response of a service.
    pub fn layer(self) -> TruncateLayer {
        TruncateLayer::new(self)
    }

    /// Makes `request` ask for what can be cut: the whole content, without a coding.
    ///
    /// `Accept-Encoding` becomes `identity`; of a `GET` or `HEAD`, `Range` and the conditional
    /// headers go, since what they compare with is the whole. Other methods keep theirs: there, a
    /// condition guards against a lost update. A gRPC request is left as it is. The layer does this
    /// by itself.
    pub fn prepare<B>(&self, request: &mut Request<B>) {
        if self.unit != Unit::Messages {
            request::prepare(request);
        }
    }

    /// Cuts the response to a `GET`.
    ///
    /// For other methods use [`apply_to`](Self::apply_to), or [`layer`](Self::layer), which knows
    /// the request. To be able to cut what comes back, [`prepare`](Self::prepare) the request first.
    pub fn apply<B: Body>(&self, response: Response<B>) -> Response<TruncateBody<B>> {
        self.apply_to(&Method::GET, response)
    }

    /// Cuts the response to a request with the method `method`.
    pub fn apply_to<B: Body>(
        &self,
        method: &Method,
        response: Response<B>,
    ) -> Response<TruncateBody<B>> {
        self.answer(&Asked::with(method), response)
    }

    /// [Prepares](Self::prepare) a request, and tells what of it decides about its response: its
    /// method, and whether a trailer can arrive.
    pub(crate) fn ask<B>(&self, request: &mut Request<B>) -> Asked {
        let asked = Asked::of(request);
        self.prepare(request);
        asked
    }

    /// Cuts the response to what was asked for.
    pub(crate) fn answer<B: Body>(
        &self,
        asked: &Asked,
        response: Response<B>,
    ) -> Response<TruncateBody<B>> {
        apply::apply(self, asked, response)
    }

    /// Cuts the body of a response to a `GET` whose head goes no further: nothing is rewritten, and
    /// only the body tells how it ended. `None` if it is refused.
    pub(crate) fn apply_to_body<B: Body>(
        &self,
        head: &response::Parts,
        body: B,
    ) -> Option<TruncateBody<B>> {
        apply::apply_to_body(self, &Asked::with(&Method::GET), head, body)
    }
}
