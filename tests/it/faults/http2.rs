//! Group E: HTTP/2, where the upstream keeps to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join_all, poll_immediate};
use h2::Reason;
use tokio::time::sleep;
use tower_upstream::{ErrorKind, Limits, Phase, UpstreamBuilder};

use super::{SHORT, assert_failed, assert_unsent, builder, patient};
use crate::support::{
    Server, echo, eventually,
    frames::{self, HEADERS, RST_STREAM, data, goaway, next, ok, request},
    http2::{self, Call},
    trial::{CAP, Trial},
};

pub(super) fn http2() -> UpstreamBuilder {
    builder().http2_prior_knowledge()
}

/// Closes a connection that is as good as before, but that its script is done with.
pub(super) async fn close_idle(trial: &Trial, server: &Server) {
    let limits = Limits::new().max_connections(CAP);
    let none = limits.idle_timeout(Duration::ZERO);
    trial.upstream.set_limits(none).unwrap();
    eventually("it is closed", || server.open() == 0).await;
    trial.upstream.set_limits(limits).unwrap();
}

/// Answers every stream with its id, but those to `/fault`, which `fault` answers.
pub(super) async fn streams<F>(trial: &Trial, fault: F) -> Server
where
    F: Fn(Call) + Clone + Send + Sync + 'static,
{
    trial
        .server(move |peer| {
            let fault = fault.clone();
            async move {
                let mut peer = http2::accept(peer).await?;
                while let Some(call) = peer.call().await {
                    if call.is_fault() {
                        fault(call);
                    } else {
                        call.answer();
                    }
                }
                Ok(())
            }
        })
        .await
}

/// A server whose first connection takes so many requests after the first, says that it will answer
/// only the first `kept` of them, and then does so, or leaves.
async fn going_away(trial: &Trial, requests: usize, kept: usize, leaves: bool) -> Server {
    trial
        .server(move |peer| async move {
            if peer.number > 0 {
                return echo::serve_http2(peer).await;
            }
            let (mut peer, frames) = http2::accept_injected(peer).await?;
            peer.call().await.unwrap().answer();
            let mut calls = Vec::new();
            while calls.len() < requests {
                calls.push(peer.call().await.unwrap());
            }
            peer.fault();
            frames.send(goaway(calls[kept - 1].stream()));
            if leaves {
                return Ok(());
            }
            let beyond = calls.split_off(kept);
            calls.into_iter().for_each(Call::answer);
            peer.run().await;
            drop(beyond);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn e1_streams_beyond_a_goaway_are_sent_elsewhere_and_the_others_finish() {
    let trial = Trial::start(http2()).await;
    let server = going_away(&trial, 100, 60, false).await;
    trial.get(server.uri("/")).await.unwrap();
    let answers = join_all((0..100).map(|_| trial.get(server.uri("/")))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), format!("request-{}", n + 1));
    }
    let sent = server.seen().len();
    assert_eq!(sent, 1 + 100 + 40, "those beyond it twice, the others once");
    assert_eq!(server.accepted(), 2);
    trial.over([server]).await;
}

#[tokio::test]
async fn e1_what_may_not_be_sent_twice_is_told_as_unseen() {
    let trial = Trial::start(http2()).await;
    let server = going_away(&trial, 2, 1, false).await;
    trial.get(server.uri("/")).await.unwrap();
    let (kept, beyond) = tokio::join!(trial.get(server.uri("/")), trial.post(server.uri("/")));
    assert_eq!(kept.unwrap(), "request-1");
    let error = beyond.unwrap_err();
    assert_failed(&error, ErrorKind::Reset, Phase::Read, 502, 14);
    assert_unsent(&error);
    trial.over([server]).await;
}

#[tokio::test]
async fn e2_a_goaway_and_the_end_at_once_fail_no_request_that_may_be_sent_twice() {
    let trial = Trial::start(http2()).await;
    let server = going_away(&trial, 20, 10, true).await;
    trial.get(server.uri("/")).await.unwrap();
    let answers = join_all((0..20).map(|_| trial.get(server.uri("/")))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), format!("request-{}", n + 1));
    }
    trial.over([server]).await;
}

#[tokio::test]
async fn e3_a_stream_refused_once_is_tried_again_and_a_storm_of_refusals_is_an_error() {
    let trial = Trial::start(http2()).await;
    let refusals = Arc::new(AtomicUsize::new(1));
    let server = streams(&trial, {
        let refusals = refusals.clone();
        move |call| {
            let left = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
            match left {
                Ok(_) => call.reset(Reason::REFUSED_STREAM),
                Err(_) => call.answer(),
            }
        }
    })
    .await;
    trial.get(server.uri("/")).await.unwrap();
    let again = trial.get(server.uri("/fault")).await;
    assert_eq!(again.unwrap(), "request-1", "it was never looked at");
    refusals.store(usize::MAX, Ordering::SeqCst);
    let before = server.seen().len();
    let error = trial.fails(server.uri("/fault")).await;
    assert_failed(&error, ErrorKind::Reset, Phase::Read, 502, 14);
    assert_unsent(&error);
    let tries = server.seen().len() - before;
    assert!(
        tries <= 2,
        "the storm is not answered by one: {tries} tries"
    );
    let error = trial.post(server.uri("/fault")).await.unwrap_err();
    assert_unsent(&error);
    trial.over([server]).await;
}

#[tokio::test]
async fn e4_a_reset_after_the_head_is_the_end_of_its_stream_alone() {
    let trial = Trial::start(http2()).await;
    let server = streams(&trial, |mut call| {
        tokio::spawn(async move {
            let mut body = call.begin();
            body.send_data("half".into(), false).unwrap();
            sleep(Duration::from_millis(20)).await;
            body.send_reset(Reason::INTERNAL_ERROR);
        });
    })
    .await;
    let other = async {
        for _ in 0..50 {
            trial.get(server.uri("/")).await.unwrap();
        }
    };
    let (error, ()) = tokio::join!(trial.fails(server.uri("/fault")), other);
    assert_failed(&error, ErrorKind::BodyIncomplete, Phase::Read, 502, 14);
    assert_eq!(server.accepted(), 1, "on the one connection");
    trial.over([server]).await;
}

#[tokio::test]
async fn e6_one_stream_at_a_time_serves_fifty() {
    let trial = Trial::start(http2()).await;
    let server = trial
        .server(|peer| async move {
            let mut one_stream = h2::server::Builder::new();
            one_stream.max_concurrent_streams(1);
            let mut peer = http2::accept_with(peer, &one_stream).await?;
            while let Some(call) = peer.call().await {
                call.answer();
            }
            Ok(())
        })
        .await;
    let answers = join_all((0..50).map(|_| trial.get(server.uri("/")))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.accepted(), CAP, "each of its connections is used");
    trial.over([server]).await;
}

#[tokio::test]
async fn e12_streams_that_nobody_reads_hold_up_no_other() {
    let trial = Trial::start(http2()).await;
    let server = streams(&trial, |mut call| {
        let mut body = call.begin();
        body.send_data(vec![0; 4 << 20].into(), true).unwrap();
    })
    .await;
    let unread = (0..30).map(|_| {
        let request = trial.request("GET", &server.uri("/fault"));
        trial.upstream.send(request.body(String::new()).unwrap())
    });
    let mut unread = join_all(unread).await;
    trial.get(server.uri("/")).await.unwrap();
    assert_eq!(server.accepted(), 1, "on the one connection");
    let whole = unread.pop().unwrap().unwrap().into_body();
    assert_eq!(whole.bytes(4 << 20).await.unwrap().len(), 4 << 20);
    drop(unread);
    trial.over([server]).await;
}

#[tokio::test]
async fn e11_a_connection_that_answers_no_ping_is_given_up() {
    let ping = Duration::from_millis(50);
    let trial = Trial::start(http2().http2_keep_alive(ping, ping)).await;
    let server = trial
        .server(|mut peer| async move {
            if peer.number > 0 {
                return echo::serve_http2(peer).await;
            }
            frames::accept(&mut peer.stream).await?;
            peer.fault();
            peer.closed().await;
            Ok(())
        })
        .await;
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::Closed, Phase::Read, 502, 14);
    trial.over([server]).await;
}

#[tokio::test]
async fn e9_a_window_that_never_opens_is_a_write_timeout() {
    let trial = Trial::start(http2().timeouts(patient().write(SHORT))).await;
    let server = streams(&trial, |call| {
        // Its body is not read, and so its window not opened.
        tokio::spawn(async move {
            let mut call = call;
            call.left().await;
        });
    })
    .await;
    let request = trial.request("POST", &server.uri("/fault"));
    let error = trial.send(request.body("x".repeat(1 << 20)).unwrap()).await;
    let error = error.unwrap_err();
    assert_failed(&error, ErrorKind::WriteTimeout, Phase::Write, 504, 4);
    trial.over([server]).await;
}

#[tokio::test]
async fn e13_frames_of_a_stream_that_was_left_are_passed_over() {
    let trial = Trial::start(http2()).await;
    let server = trial
        .server(|mut peer| async move {
            if peer.number > 0 {
                return echo::serve_http2(peer).await;
            }
            let socket = &mut peer.stream;
            frames::accept(socket).await?;
            let left = request(socket).await?.unwrap();
            // The next request may overtake the reset of this one.
            let (mut asked, mut is_reset) = (None, false);
            while asked.is_none() || !is_reset {
                let frame = next(socket).await?.unwrap();
                is_reset |= (frame.kind, frame.stream) == (RST_STREAM, left);
                if frame.kind == HEADERS {
                    asked = Some(frame.stream);
                }
            }
            let asked = asked.unwrap();
            let answers = [
                ok(left, &[]),
                data(left, "late", false),
                ok(asked, &[]),
                data(left, "later", true),
                data(asked, "in time", true),
            ];
            peer.write(answers.concat()).await?;
            peer.closed().await;
            Ok(())
        })
        .await;
    let mut left = Box::pin(trial.get(server.uri("/")));
    while trial.upstream.stats().total.in_use == 0 {
        assert!(poll_immediate(&mut left).await.is_none());
        sleep(Duration::from_millis(1)).await;
    }
    // It has its stream, which sends the request by itself.
    assert!(poll_immediate(&mut left).await.is_none());
    sleep(Duration::from_millis(20)).await;
    drop(left);
    assert_eq!(trial.get(server.uri("/")).await.unwrap(), "in time");
    assert_eq!(server.accepted(), 1, "on the same connection");
    close_idle(&trial, &server).await;
    trial.over([server]).await;
}
