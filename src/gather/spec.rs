use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Empty;

use super::{Format, Order};
use crate::{
    error::{Error, ErrorKind},
    truncate::Truncate,
};

/// Several requests at once, and one answer made of theirs.
///
/// [`send`](Self::send) sends them through any [`Service`](tower::Service) whose responses have a
/// body, and joins the answers into one response that streams: the first answer goes out as soon as
/// it comes, and the whole takes as long as the slowest. Its *legs* run in the task of whoever
/// polls it: nothing is spawned, and dropping the future or the body drops them all.
///
/// A leg that fails is told in its place, in plain words, and the others go on:
///
/// ```
/// use axum::{Router, extract::State, response::IntoResponse, routing::get};
/// use tower_upstream::{Gather, Truncate, Upstream, UpstreamLayer};
///
/// async fn previews(upstream: Upstream, State(pages): State<Vec<String>>) -> impl IntoResponse {
///     Gather::get(pages).truncate(Truncate::chars(12)).send(&upstream).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use axum::extract::Path;
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?;
/// # let site = Router::new().route("/{page}", get(async |Path(page): Path<String>| {
/// #     format!("Welcome to {page}, and much more than that")
/// # }));
/// # tokio::spawn(async move { axum::serve(listener, site).await });
/// # let pages = ["a", "no/such/page", "b"].map(|page| format!("http://{address}/{page}")).to_vec();
/// let upstream = Upstream::builder().build()?;
/// let app = Router::new()
///     .route("/", get(previews))
///     .layer(UpstreamLayer::new(upstream))
///     .with_state(pages);
/// # use tower::ServiceExt;
/// # let request = http::Request::new(axum::body::Body::empty());
/// # let text = axum::body::to_bytes(app.oneshot(request).await?.into_body(), 1000).await?;
/// assert_eq!(text, "Welcome to a\n\n[1: status 404 Not Found]\n\nWelcome to b");
/// # Ok(())
/// # }
/// ```
///
/// For programs, [`Format::ndjson`] has one JSON object a line, here each as soon as it is there:
///
/// ```
/// use tower_upstream::{Format, Gather, Order};
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # let upstream = tower::service_fn(async |request: Request<Empty<Bytes>>| {
/// #     let slow = request.uri().path().len() as u64;
/// #     tokio::time::sleep(std::time::Duration::from_millis(10 * slow)).await;
/// #     Ok::<_, tower::BoxError>(Response::new(Full::<Bytes>::from(request.uri().path().to_owned())))
/// # });
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let response = Gather::get(["http://a.example/slow", "http://a.example/"])
///     .order(Order::Completion)
///     .format(Format::ndjson())
///     .send(&upstream)
///     .await;
/// # let text = response.into_body().collect().await.unwrap().to_bytes();
/// assert_eq!(text, r#"{"index":1,"status":200,"text":"/","truncated":false}
/// {"index":0,"status":200,"text":"/slow","truncated":false}
/// {"done":true,"ok":2,"failed":0}
/// "#);
/// # });
/// ```
///
/// Whoever joins the answers otherwise takes them raw:
///
/// ```
/// use futures_util::StreamExt;
/// use http_body_util::{BodyExt, Limited};
/// use tower_upstream::{Gather, Order};
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # fn upstream() -> impl tower::Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>,
/// #     Error = tower::BoxError, Future: Send> + Clone + Send + 'static {
/// #     tower::service_fn(async |request: Request<Empty<Bytes>>| {
/// #         Ok(Response::new(Full::from(request.uri().path().to_owned())))
/// #     })
/// # }
///
/// async fn sizes() -> String {
///     let urls = ["http://a.example/", "http://a.example/about"];
///     let mut legs = Gather::get(urls).order(Order::Completion).stream(&upstream());
///     let mut sizes = [None; 2];
///     while let Some(leg) = legs.next().await {
///         let Ok(response) = leg.result else { continue };
///         let body = Limited::new(response.into_body(), 64 * 1024).collect().await;
///         sizes[leg.index] = body.ok().map(|body| body.to_bytes().len());
///     }
///     format!("{sizes:?}")
/// }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # assert_eq!(runtime.block_on(sizes()), "[Some(1), Some(6)]");
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(sizes));
/// ```
///
/// # Connections
///
/// A leg of `send` never keeps a connection until its turn comes: it is read on, up to its cut or
/// its share of [`max_output`](Self::max_output), and what was read waits in memory. So gathers
/// cannot wait for each other's connections, whatever their width, the pool's caps and how deep
/// they are nested. A client that reads slowly is another matter: the legs run only as the body is
/// polled, and a server polls it no faster than it can send.
#[derive(Clone)]
#[must_use = "nothing is sent before `send` or `stream`"]
pub struct Gather<B> {
    pub(super) targets: Vec<Result<Request<B>, Error>>,
    pub(super) truncate: Option<Truncate>,
    pub(super) order: Order,
    pub(super) format: Format,
    pub(super) fail_fast: bool,
    pub(super) deadline: Option<Duration>,
    pub(super) max_concurrent: usize,
    pub(super) max_legs: usize,
    pub(super) max_output: usize,
}

impl Gather<Empty<Bytes>> {
    /// A `GET` for each of `uris`: `&str`, `String` or [`Uri`], by value or by reference. A [`Uri`],
    /// made once, is not parsed again for every gather.
    ///
    /// What is not a URI is a failure in its place, and the others are sent.
    pub fn get<I>(uris: I) -> Self
    where
        I: IntoIterator<Item: TryInto<Uri, Error: Into<http::Error>>>,
    {
        Self::of(uris.into_iter().map(get).collect())
    }
}

impl<B> Gather<B> {
    /// These requests, which may each have their own method, headers and body.
    pub fn new(requests: impl IntoIterator<Item = Request<B>>) -> Self {
        Self::of(requests.into_iter().map(Ok).collect())
    }

    fn of(targets: Vec<Result<Request<B>, Error>>) -> Self {
        Self {
            targets,
            truncate: None,
            order: Order::default(),
            format: Format::default(),
            fail_fast: false,
            deadline: None,
            max_concurrent: usize::MAX,
            max_legs: 100,
            max_output: 2 * 1024 * 1024,
        }
    }

    /// Cuts each answer at this limit. Default: only [`max_output`](Self::max_output) limits it,
    /// which holds beside this too.
    ///
    /// Whatever its type and status, an answer is cut as text: malformed bytes become U+FFFD, a
    /// byte order mark is left out and no character is cut in two. Without the feature `charset` only
    /// UTF-8 is read: of a charset of one byte a character its ASCII, and U+FFFD for the rest; one of
    /// several bytes is a failure. So is a compressed answer without the feature `decompression`.
    ///
    /// `limit` is one of bytes or characters; its other options are not looked at. Only for
    /// [`send`](Self::send).
    pub fn truncate(mut self, limit: Truncate) -> Self {
        self.truncate = Some(limit);
        self
    }

    /// In which order the answers are handed on. Default: [`Order::Request`].
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// How the answers are joined. Default: [`Format::text`]. Only for [`send`](Self::send).
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Drops the other legs as soon as one has failed: each is reported as given up, with what it
    /// had said by then. Default: the others finish.
    ///
    /// A leg has failed if it ended in an error or, for [`send`](Self::send), with a status that is
    /// not 2xx. The status of the whole is then 502, 503 or 504, as [`send`](Self::send) says for that
    /// leg alone, if it was not sent before. A [`stream`](Self::stream) ends after the failed leg, and
    /// those before it that wait for their turn are dropped.
    pub fn fail_fast(mut self) -> Self {
        self.fail_fast = true;
        self
    }

    /// How long the whole may take, from `send` or `stream` on. Default: for ever.
    ///
    /// What has not ended by then is dropped and reported as timed out, with what it had said so
    /// far.
    ///
    /// # Panics
    ///
    /// `send` and `stream` panic outside a tokio runtime, if a deadline is set.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// How many legs may run at once; the next begins when one has ended, in request order.
    /// Default: all, since the pool has limits of its own; 0 is taken for 1.
    ///
    /// A leg has ended when its text is read or cut, for [`send`](Self::send), and when its head is
    /// there, for [`stream`](Self::stream).
    pub fn max_concurrent(mut self, legs: usize) -> Self {
        self.max_concurrent = legs;
        self
    }

    /// How many requests are sent at most; those after them are failures in their places. Default:
    /// 100.
    pub fn max_legs(mut self, legs: usize) -> Self {
        self.max_legs = legs;
        self
    }

    /// How many bytes of the upstreams' text come out at most, and may be held in memory until
    /// their turn comes. Default: 2 MiB. Only for [`send`](Self::send).
    ///
    /// Each leg has an equal share of it, whatever the others say, and is cut where that ends; text
    /// then says so. Counted as UTF-8, before it is escaped for JSON. A server that works on a
    /// hundred requests at once may hold a hundred times this.
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }
}

impl<B> fmt::Debug for Gather<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            targets,
            truncate,
            order,
            format,
            fail_fast,
            deadline,
            max_concurrent,
            max_legs,
            max_output,
        } = self;
        // The requests may hold secrets.
        f.debug_struct("Gather")
            .field("legs", &targets.len())
            .field("truncate", truncate)
            .field("order", order)
            .field("format", format)
            .field("fail_fast", fail_fast)
            .field("deadline", deadline)
            .field("max_concurrent", max_concurrent)
            .field("max_legs", max_legs)
            .field("max_output", max_output)
            .finish()
    }
}

fn get<U>(uri: U) -> Result<Request<Empty<Bytes>>, Error>
where
    U: TryInto<Uri, Error: Into<http::Error>>,
{
    let uri = uri.try_into().map_err(|error| {
        let error: http::Error = error.into();
        Error::new(ErrorKind::InvalidTarget).with_source(error)
    })?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    Ok(request)
}
