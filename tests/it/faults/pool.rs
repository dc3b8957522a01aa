//! Group F: the pool and its limits.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{join_all, poll_immediate},
    stream,
};
use http::StatusCode;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{sync::Semaphore, time::sleep};
use tower::{Service, ServiceExt};
use tower_upstream::{ErrorKind, Limits, Phase};

use super::{assert_failed, assert_unsent, builder, patient};
use crate::support::{
    Server, echo, eventually, ms, sized,
    trial::{CAP, Trial},
};

/// An upstream that answers as many requests as it is let, and the gate.
pub(super) async fn gated(trial: &Trial) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let server = trial.server({
        let gate = gate.clone();
        move |mut peer| {
            let gate = gate.clone();
            async move {
                while let Some(request) = peer.request().await? {
                    gate.acquire().await.unwrap().forget();
                    peer.write(sized(request.id())).await?;
                }
                Ok(())
            }
        }
    });
    (server.await, gate)
}

const OPEN: usize = 1000;

#[tokio::test]
async fn f1_ten_callers_a_connection_use_exactly_the_cap_in_their_order() {
    const CAP: usize = 4;
    let builder = builder().limits(Limits::new().max_connections(CAP));
    let trial = Trial::capped(CAP, builder).await;
    let (server, gate) = gated(&trial).await;
    // One after the other, as each of them is polled first.
    let callers = join_all((0..10 * CAP).map(|_| trial.get(server.uri("/"))));
    let open = async {
        eventually("the cap is reached", || server.seen().len() == CAP).await;
        gate.add_permits(OPEN);
    };
    let (answers, ()) = tokio::join!(callers, open);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((server.peak(), server.accepted()), (CAP, CAP), "exactly");
    let order: Vec<usize> = server
        .seen()
        .iter()
        .map(|seen| {
            seen.id.as_ref().unwrap()["request-".len()..]
                .parse()
                .unwrap()
        })
        .collect();
    // Those on different connections may overtake each other on the way.
    let is_in_order = |(turn, request): (usize, &usize)| turn.abs_diff(*request) < CAP;
    assert!(order.iter().enumerate().all(is_in_order), "{order:?}");
    trial.over([server]).await;
}

#[tokio::test]
async fn f2_a_pool_timeout_of_zero_fails_at_once_when_full_and_succeeds_when_free() {
    let trial = Trial::start(builder()).await;
    let (server, gate) = gated(&trial).await;
    let impatient = || {
        let mut request = trial.request("GET", &server.uri("/"));
        let extensions = request.extensions_mut().unwrap();
        extensions.insert(patient().pool(Duration::ZERO));
        trial.send(request.body(String::new()).unwrap())
    };
    let held = join_all((0..CAP).map(|_| impatient()));
    let full = async {
        eventually("it is full", || server.seen().len() == CAP).await;
        let error = impatient().await.unwrap_err();
        assert_failed(&error, ErrorKind::PoolTimeout, Phase::Pool, 503, 14);
        assert_unsent(&error);
        gate.add_permits(OPEN);
    };
    let (answers, ()) = tokio::join!(held, full);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    impatient().await.unwrap();
    trial.over([server]).await;
}

#[tokio::test]
async fn f3_a_full_queue_refuses_at_once() {
    let limits = Limits::new().max_connections(CAP).max_pending(3);
    let trial = Trial::start(builder().limits(limits)).await;
    let (server, gate) = gated(&trial).await;
    let under_way = join_all((0..CAP + 3).map(|_| trial.get(server.uri("/"))));
    let refused = async {
        eventually("the queue is full", || {
            trial.upstream.stats().total.waiting == 3
        })
        .await;
        for _ in 0..100 {
            let error = poll_immediate(trial.fails(server.uri("/"))).await;
            let error = error.expect("it does not wait for anything");
            assert_failed(&error, ErrorKind::QueueFull, Phase::Pool, 503, 14);
            assert_unsent(&error);
        }
        assert_eq!(trial.upstream.stats().total.waiting, 3);
        gate.add_permits(OPEN);
    };
    let (answers, ()) = tokio::join!(under_way, refused);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    trial.over([server]).await;
}

#[tokio::test]
async fn f6_clones_that_are_ready_and_parked_take_nothing_away() {
    let trial = Trial::start(builder()).await;
    let server = trial.server(echo::serve).await;
    let mut parked = Vec::new();
    for _ in 0..1000 {
        let mut clone = trial.upstream.clone();
        let ready: &mut tower_upstream::Upstream =
            ServiceExt::<http::Request<String>>::ready(&mut clone)
                .await
                .unwrap();
        std::future::poll_fn(|cx| Service::<http::Request<String>>::poll_ready(ready, cx))
            .await
            .unwrap();
        parked.push(clone);
    }
    let total = trial.upstream.stats().total;
    assert_eq!((total.open, total.in_use, total.waiting), (0, 0, 0));
    let answers = join_all((0..10).map(|_| trial.get(server.uri("/")))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    drop(parked);
    trial.over([server]).await;
}

#[tokio::test]
async fn f7_requests_at_the_instant_in_which_idle_connections_expire_are_served() {
    const IDLE: Duration = Duration::from_millis(5);
    let limits = Limits::new().max_connections(CAP).idle_timeout(IDLE);
    let trial = Trial::start(builder().limits(limits)).await;
    let server = trial.server(echo::serve).await;
    for n in 0..100 {
        // From well before to well behind it.
        sleep(IDLE * n / 50).await;
        trial.post(server.uri("/")).await.unwrap();
    }
    assert!(server.accepted() > 1, "some of them expired");
    trial.over([server]).await;
}

#[tokio::test]
async fn f9_a_408_or_a_second_response_on_an_idle_connection_is_no_answer() {
    for bait in [
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbait",
    ] {
        let trial = Trial::start(builder()).await;
        let server = trial
            .faulty(move |mut peer, request| async move {
                peer.write(sized(request.id())).await?;
                peer.write(bait).await?;
                Ok(peer)
            })
            .await;
        for n in 0..20 {
            let answer = trial.get(server.uri("/fault")).await;
            assert_eq!(answer.unwrap(), format!("request-{n}"), "{bait:?}");
        }
        trial.over([server]).await;
    }
}

#[tokio::test]
async fn f10_a_413_while_the_body_is_sent_is_delivered_and_the_upload_stops() {
    let trial = Trial::start(builder()).await;
    let server = trial
        .server(|mut peer| async move {
            while let Some(head) = peer.head().await? {
                if head.starts_with("GET") {
                    let id = crate::support::header(&head, "x-id").unwrap();
                    peer.write(sized(id)).await?;
                    continue;
                }
                peer.fault();
                let line = "HTTP/1.1 413 Content Too Large";
                peer.write(format!("{line}\r\ncontent-length: 8\r\n\r\nno more!"))
                    .await?;
                peer.closed().await;
                break;
            }
            Ok(())
        })
        .await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let endless = stream::repeat_with(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"more")))
    });
    let endless = StreamBody::new(endless.then(|piece| async {
        sleep(ms(1)).await;
        piece
    }));
    let request = trial.request("POST", &server.uri("/"));
    let request = request.body(Box::pin(endless)).unwrap();
    let response = trial.upstream.send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let text = response.into_body().text(100).await;
    assert_eq!(text.unwrap(), "no more!");
    eventually("the connection is closed", || server.open() == 0).await;
    let so_far = sent.load(Ordering::SeqCst);
    sleep(ms(50)).await;
    assert_eq!(sent.load(Ordering::SeqCst), so_far, "nobody asks for more");
    trial.over([server]).await;
}

#[tokio::test]
async fn f11_a_request_that_asks_to_close_keeps_no_connection() {
    let trial = Trial::start(builder()).await;
    // The upstream would go on: it is the request that has said that there is no more.
    let server = trial.server(echo::serve).await;
    for _ in 0..3 {
        let request = trial
            .request("GET", &server.uri("/"))
            .header("connection", "close");
        trial
            .send(request.body(String::new()).unwrap())
            .await
            .unwrap();
        eventually("it is closed", || trial.upstream.stats().total.open == 0).await;
    }
    assert_eq!(server.accepted(), 3);
    trial.over([server]).await;
}

#[tokio::test]
async fn f12_limits_that_change_while_requests_run_cut_nothing_and_hold_from_then_on() {
    let limits = |count| Limits::new().max_connections(count);
    let trial = Trial::capped(4, builder().limits(limits(4))).await;
    let (server, gate) = gated(&trial).await;
    let four = join_all((0..4).map(|_| trial.get(server.uri("/"))));
    let change = async {
        eventually("all four are at work", || server.seen().len() == 4).await;
        trial.upstream.set_limits(limits(1)).unwrap();
        let error = trial.upstream.set_limits(limits(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        gate.add_permits(OPEN);
    };
    let (answers, ()) = tokio::join!(four, change);
    assert!(
        answers.iter().all(Result::is_ok),
        "none is cut: {answers:?}"
    );
    eventually("one is left", || server.open() == 1).await;
    let answers = join_all((0..10).map(|_| trial.get(server.uri("/")))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.accepted(), 4, "by the one that is left");
    trial.upstream.set_limits(limits(4)).unwrap();
    trial.over([server]).await;
}
