//! Who is let pass, and what gives a place back before there is a body.

use std::{convert::Infallible, task::Poll, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::mpsc::error::TryRecvError;
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt,
    buffer::BufferLayer,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    load_shed::{LoadShedLayer, error::Overloaded},
    service_fn,
    timeout::{TimeoutLayer, error::Elapsed},
};

use super::{StreamedBody, Task, mock, streamed};
use crate::limit::{UntilBodyEndLayer, WaitLayer};

fn request() -> Request<()> {
    Request::new(())
}

#[tokio::test]
async fn a_call_waits_for_the_end_of_a_body_and_not_of_a_head() {
    let (inner, mut calls) = mock();
    let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(1)).layer(inner);

    let mut first = Task::new(service.call(request()));
    assert!(first.poll().is_pending());
    let (sender, body) = streamed();
    calls.try_recv().unwrap().answer(Ok(Response::new(body)));
    let mut response = first.ready().unwrap();

    let mut second = Task::new(service.call(request()));
    assert!(second.poll().is_pending());
    assert_eq!(
        calls.try_recv().err(),
        Some(TryRecvError::Empty),
        "the first response has its head only, so the second request stays out"
    );

    drop(sender);
    assert!(response.frame().await.is_none(), "the body is over");
    assert!(
        second.is_woken(),
        "the end of the body lets the next one in"
    );
    assert!(second.poll().is_pending());
    assert!(calls.try_recv().is_ok(), "the second request has passed");
}

#[tokio::test]
async fn a_limit_of_none_admits_none() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(0)).layer(inner);
    let mut call = Task::new(service.call(request()));
    assert!(call.poll().is_pending());
    assert!(calls.try_recv().is_err(), "there is no place to be had");
}

#[tokio::test]
async fn being_ready_reserves_nothing() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(1)).layer(inner);
    let mut idle = vec![service.clone(); 1000];
    for service in &mut idle {
        assert!(
            service.ready().now_or_never().is_some(),
            "a server's idle connection is told at once that the service is ready"
        );
    }
    let mut call = Task::new(service.call(request()));
    assert!(call.poll().is_pending());
    assert!(
        calls.try_recv().is_ok(),
        "a thousand idle clones have left the only place free"
    );
}

#[tokio::test]
async fn a_service_dropped_takes_no_call_with_it() {
    let (inner, mut calls) = mock::<Empty<&[u8]>>();
    let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(1)).layer(inner);
    let mut other = service.clone();
    let mut call = Task::new(service.call(request()));
    assert!(call.poll().is_pending());
    drop(service);

    let mut next = Task::new(other.call(request()));
    assert!(next.poll().is_pending());
    let first = calls.try_recv().unwrap();
    assert!(calls.try_recv().is_err(), "the call still has its place");
    first.answer(Ok(Response::new(Empty::new())));
    assert!(call.ready().is_ok(), "the call goes on without its service");
    assert!(next.is_woken(), "and gives its place back");
}

#[tokio::test]
async fn an_error_frees_at_once() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(1)).layer(inner);
    let mut first = Task::new(service.call(request()));
    let mut second = Task::new(service.call(request()));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());

    calls.try_recv().unwrap().answer(Err("boom"));
    assert_eq!(
        first.ready().unwrap_err(),
        "boom",
        "the error is the service's own, not boxed"
    );
    assert!(
        second.is_woken(),
        "the place is free although the finished future is still kept"
    );
}

#[tokio::test]
async fn a_dropped_call_frees() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(1)).layer(inner);
    let mut first = Task::new(service.call(request()));
    let mut second = Task::new(service.call(request()));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    let call = calls.try_recv().unwrap();

    drop(first);
    assert!(call.answer.is_closed(), "the service's future is gone");
    assert!(second.is_woken(), "and so is its permit");
}

#[tokio::test]
async fn waiters_are_served_in_order_and_a_cancelled_one_passes_its_turn_on() {
    let (inner, _calls) = mock::<StreamedBody>();
    let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(1)).layer(inner);
    let mut tasks: Vec<_> = (0..4).map(|_| Task::new(service.call(request()))).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));

    drop(tasks.remove(0));
    let woken: Vec<_> = tasks.iter().map(Task::is_woken).collect();
    assert_eq!(woken, [true, false, false], "the first in the queue only");

    drop(tasks.remove(0));
    let woken: Vec<_> = tasks.iter().map(Task::is_woken).collect();
    assert_eq!(woken, [true, false], "its turn passes to the next");
}

#[tokio::test]
async fn an_upgrade_holds_until_its_head() {
    let upgrades = [
        (Method::GET, StatusCode::SWITCHING_PROTOCOLS, true),
        (Method::CONNECT, StatusCode::OK, true),
        (Method::CONNECT, StatusCode::BAD_GATEWAY, false),
        (Method::GET, StatusCode::OK, false),
    ];
    for (method, status, frees) in upgrades {
        let (inner, mut calls) = mock();
        let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(1)).layer(inner);
        let mut upgraded = request();
        *upgraded.method_mut() = method.clone();
        let mut first = Task::new(service.call(upgraded));
        let mut second = Task::new(service.call(request()));
        assert!(first.poll().is_pending());
        assert!(second.poll().is_pending());

        let (mut sender, body) = streamed();
        let mut head = Response::new(body);
        *head.status_mut() = status;
        calls.try_recv().unwrap().answer(Ok(head));
        let mut response = first.ready().unwrap();
        assert_eq!(second.is_woken(), frees, "{method} answered by {status}");

        sender.send_data("x".into()).await.unwrap();
        let data = response.frame().await.unwrap().unwrap().into_data();
        assert_eq!(data.unwrap(), "x", "the body is passed on all the same");
    }
}

#[tokio::test]
async fn what_is_shed_while_bodies_stream_leaves_no_trace() {
    let (inner, mut calls) = mock();
    let limit = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(2));
    let mut service = UntilBodyEndLayer::new(limit).layer(inner);

    let mut streaming = Vec::new();
    for _ in 0..2 {
        let mut call = Task::new(service.call(request()));
        assert!(call.poll().is_pending());
        let (sender, body) = streamed();
        calls.try_recv().unwrap().answer(Ok(Response::new(body)));
        streaming.push((sender, call.ready().unwrap()));
    }
    // Refused calls that are kept: none of them may be given the permit that comes free.
    let mut refused: Vec<_> = (0..3).map(|_| Task::new(service.call(request()))).collect();
    for call in &mut refused {
        let error = call.ready().unwrap_err();
        assert!(error.is::<Overloaded>(), "the third is shed: {error}");
    }

    streaming.pop();
    let mut call = Task::new(service.clone().call(request()));
    assert!(call.poll().is_pending());
    assert!(
        calls.try_recv().is_ok(),
        "the permit of the dropped body goes to the next call"
    );
}

#[tokio::test]
async fn a_spent_budget_is_not_taken_for_a_full_limit() {
    let limit = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1));
    let service = UntilBodyEndLayer::new(limit).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
    }));
    let call = async {
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        service.oneshot(request()).await
    };
    assert!(
        tokio::spawn(call).await.unwrap().is_ok(),
        "there was room, whatever the task had done before in its turn"
    );
}

#[tokio::test]
async fn the_service_is_waited_for_inside_the_call() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let busy = ConcurrencyLimitLayer::new(1).layer(inner);
    let mut service = UntilBodyEndLayer::new(ConcurrencyLimitLayer::new(2)).layer(busy);
    let mut first = Task::new(service.call(request()));
    let mut second = Task::new(service.call(request()));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    calls.try_recv().unwrap().answer(Err("boom"));
    assert!(calls.try_recv().is_err(), "the service takes one at a time");
    assert!(first.ready().is_err());
    drop(first);
    assert!(second.is_woken(), "the service has become ready");
    assert!(second.poll().is_pending());
    assert!(calls.try_recv().is_ok(), "and is called");
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_time_ends_the_wait_for_the_head() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let limit = TimeoutLayer::new(Duration::from_secs(1));
    let mut service = UntilBodyEndLayer::new(limit).layer(inner);
    let mut call = Task::new(service.call(request()));
    let error = (&mut call.future).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "tower's timeout fired: {error}");
    assert!(
        calls.try_recv().unwrap().answer.is_closed(),
        "and took the call with it"
    );
}

#[tokio::test]
async fn a_limit_may_run_on_another_task() {
    let limit = ServiceBuilder::new()
        .layer(BufferLayer::new(8))
        .layer(ConcurrencyLimitLayer::new(1));
    let service = UntilBodyEndLayer::new(limit).layer(service_fn(async |_: Request<()>| {
        Ok::<_, BoxError>(Response::new(Full::new(Bytes::from("hello"))))
    }));
    for _ in 0..3 {
        let response = service.clone().oneshot(request()).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "hello", "and each permit comes back");
    }
}

#[tokio::test(start_paused = true)]
async fn n_at_work_m_waiting_and_the_rest_refused() {
    let (inner, mut calls) = mock::<StreamedBody>();
    let stack = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(1 + 2))
        .layer(WaitLayer::new(Duration::from_secs(1)))
        .layer(GlobalConcurrencyLimitLayer::new(1));
    let mut service = UntilBodyEndLayer::new(stack).layer(inner);
    let mut tasks: Vec<_> = (0..4).map(|_| Task::new(service.call(request()))).collect();

    let done: Vec<_> = tasks
        .iter_mut()
        .map(|task| matches!(task.poll(), Poll::Ready(Err(error)) if error.is::<Overloaded>()))
        .collect();
    assert_eq!(done, [false, false, false, true], "one works, two wait");

    drop(tasks.remove(0));
    let woken: Vec<_> = tasks[..2].iter().map(Task::is_woken).collect();
    assert_eq!(woken, [true, false], "the first that waits is the next");
    assert!(tasks[0].poll().is_pending());
    assert!(calls.try_recv().is_ok(), "and it reaches the service");
}
