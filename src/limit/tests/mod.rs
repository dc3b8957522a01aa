//! tower's own checklist for limits, and what is new: the body.

mod admission;
mod body;
mod wait;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::{mpsc, oneshot};
use tower::{Service, service_fn};

type StreamedBody = Channel<Bytes, Infallible>;
type Outcome<B> = Result<Response<B>, &'static str>;

/// A service whose answers a test gives by hand, one [`Call`] each.
fn mock<B: 'static>() -> (
    impl Service<Request<()>, Response = Response<B>, Error = &'static str, Future: Unpin> + Clone,
    mpsc::UnboundedReceiver<Call<B>>,
) {
    let (calls, received) = mpsc::unbounded_channel();
    let service = service_fn(move |_: Request<()>| {
        let (answer, answered) = oneshot::channel();
        let sent = calls.send(Call { answer });
        Box::pin(async move {
            sent.map_err(|_| "the test is over")?;
            answered.await.unwrap_or(Err("the call was dropped"))
        })
    });
    (service, received)
}

struct Call<B> {
    answer: oneshot::Sender<Outcome<B>>,
}

impl<B> Call<B> {
    fn answer(self, outcome: Outcome<B>) {
        assert!(self.answer.send(outcome).is_ok(), "the caller is waiting");
    }
}

/// A body that the test writes, and the hand that writes it.
fn streamed() -> (Sender<Bytes, Infallible>, StreamedBody) {
    Channel::new(4)
}

/// A future polled by hand.
struct Task<F> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<F: Future> Task<F> {
    fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            woken: Arc::new(Woken(AtomicBool::new(false))),
        }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Arc::clone(&self.woken).into();
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// The output, which the test knows to be there.
    #[track_caller]
    fn ready(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future should be done"),
        }
    }
}
