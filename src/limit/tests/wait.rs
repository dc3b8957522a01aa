//! The bound on waiting.

use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Empty;
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer};

use super::{StreamedBody, Task, mock};
use crate::limit::{WaitLayer, WaitTimeout};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_wait_ends_by_its_own_name_and_leaves_the_queue() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let mut service = WaitLayer::new(SECOND).layer(ConcurrencyLimitLayer::new(1).layer(inner));
    let mut first = Task::new(service.call(Request::new(())));
    assert!(first.poll().is_pending());

    let start = Instant::now();
    let mut second = Task::new(service.call(Request::new(())));
    let error = (&mut second.future).await.unwrap_err();
    let timeout = error.downcast_ref::<WaitTimeout>();
    assert_eq!(
        timeout.map(WaitTimeout::limit),
        Some(SECOND),
        "the error is the wait's own: {error}"
    );
    assert_eq!(start.elapsed().as_secs(), 1, "it came when it was due");
    assert_eq!(error.to_string(), "not ready within 1s");

    let mut third = Task::new(service.call(Request::new(())));
    assert!(third.poll().is_pending());
    drop(calls.try_recv().unwrap());
    drop(first);
    assert!(
        third.is_woken(),
        "who has given up is not in the queue, even if its future is still kept"
    );
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn the_call_itself_may_take_longer() {
    let (inner, mut calls) = mock();
    let mut service = WaitLayer::new(SECOND).layer(inner);
    let mut call = Task::new(service.call(Request::new(())));
    assert!(call.poll().is_pending());
    advance(10 * SECOND).await;
    assert!(call.poll().is_pending(), "only the wait is limited");
    let answer = Response::new(Empty::<&[u8]>::new());
    calls.try_recv().unwrap().answer(Ok(answer));
    assert!(call.ready().is_ok());
}

#[tokio::test(start_paused = true)]
async fn readiness_in_the_last_moment_is_readiness() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let mut service = WaitLayer::new(SECOND).layer(ConcurrencyLimitLayer::new(1).layer(inner));
    let mut first = Task::new(service.call(Request::new(())));
    let mut second = Task::new(service.call(Request::new(())));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    assert!(calls.try_recv().is_ok());

    advance(2 * SECOND).await;
    drop(first);
    assert!(
        second.poll().is_pending(),
        "the place is there, so the timer is not asked"
    );
    assert!(calls.try_recv().is_ok(), "and the call is made");
}

#[tokio::test(start_paused = true)]
async fn being_ready_reserves_nothing() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let mut service = WaitLayer::new(SECOND).layer(ConcurrencyLimitLayer::new(1).layer(inner));
    let mut idle = vec![service.clone(); 1000];
    for service in &mut idle {
        assert!(service.ready().now_or_never().is_some());
    }
    assert!(
        Task::new(service.call(Request::new(())))
            .poll()
            .is_pending()
    );
    assert!(calls.try_recv().is_ok(), "the only place was free");
}
