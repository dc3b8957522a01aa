use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use tokio::time::sleep;
use tower::{BoxError, Service, service_fn};
use tower_upstream::GatherBody;

pub(super) type Page = Response<UnsyncBoxBody<Bytes, BoxError>>;
pub(super) type Answer = Result<Page, BoxError>;

/// What an upstream does with its body, one step after the other; then it ends.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Bytes),
    Wait(u64),
    Break,
}

pub(super) fn send(data: impl AsRef<[u8]>) -> Step {
    Step::Send(Bytes::copy_from_slice(data.as_ref()))
}

pub(super) fn page<I>(steps: I) -> Page
where
    I: IntoIterator<Item = Step, IntoIter: Send + 'static>,
{
    let frames = stream::unfold(steps.into_iter(), async |mut steps| {
        loop {
            match steps.next()? {
                Step::Wait(millis) => pause(millis).await,
                Step::Send(data) => return Some((Ok(Frame::data(data)), steps)),
                Step::Break => return Some((Err(BoxError::from("connection reset")), steps)),
            }
        }
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

pub(super) fn text(text: &'static str) -> Page {
    page([send(text)])
}

pub(super) async fn pause(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

/// The number at the end of a request's path.
pub(super) fn number<B>(request: &Request<B>) -> usize {
    let (_, number) = request.uri().path().rsplit_once('/').unwrap();
    number.parse().unwrap()
}

pub(super) fn uris(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|index| format!("http://upstream/{index}"))
}

type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A service that answers by the number in the path.
pub(super) fn upstream<F, R>(
    answer: F,
) -> impl Service<Request<Empty<Bytes>>, Response = Page, Error = BoxError, Future = Pending>
+ Clone
+ Send
+ 'static
where
    F: Fn(usize) -> R + Clone + Send + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    service_fn(move |request: Request<Empty<Bytes>>| -> Pending {
        Box::pin(answer(number(&request)))
    })
}

/// The whole of an answer as text.
pub(super) async fn read(response: Response<GatherBody>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).expect("what comes out is UTF-8")
}

/// The next piece of an answer.
pub(super) async fn next(body: &mut GatherBody) -> Option<String> {
    let frame: Result<Frame<Bytes>, Infallible> = body.frame().await?;
    let Ok(frame) = frame;
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// Counts what is alive.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// Counts as alive until it is dropped.
#[derive(Debug)]
pub(super) struct Guard(Live);

impl Live {
    pub(super) fn enter(&self) -> Guard {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Guard(self.clone())
    }

    pub(super) fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Keeps `guard` for as long as `page`'s body lives.
pub(super) fn holding<G: Send + 'static>(page: Page, guard: G) -> Page {
    page.map(|body| {
        body.map_frame(move |frame| {
            let _ = &guard;
            frame
        })
        .boxed_unsync()
    })
}

/// Whether a body has said that it has ended.
pub(super) fn ended(body: &GatherBody) -> bool {
    body.is_end_stream()
}
