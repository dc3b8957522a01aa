//! Group H: a handle that ends.

use futures_util::future::join_all;
use http_body_util::BodyExt;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tower_upstream::{ErrorKind, Phase};

use super::{
    SHORT, assert_failed, assert_unsent, builder,
    http2::{http2, streams},
    pool::gated,
};
use crate::support::{
    eventually,
    http2::stall,
    trial::{CAP, PATIENCE, Trial},
};

#[tokio::test]
async fn h1_a_drain_lets_what_is_under_way_finish_and_takes_nobody_new() {
    let trial = Trial::start(builder()).await;
    let (server, gate) = gated(&trial).await;
    gate.add_permits(1);
    let idle = trial.get(server.uri("/")).await;
    idle.unwrap();
    let busy = join_all((0..CAP).map(|_| trial.get(server.uri("/"))));
    let drain = async {
        eventually("all are at work", || server.seen().len() == 1 + CAP).await;
        let late = async {
            let error = trial.fails(server.uri("/")).await;
            assert_failed(&error, ErrorKind::Draining, Phase::Pool, 503, 14);
            assert_unsent(&error);
            gate.add_permits(CAP);
        };
        // In this order: it drains from its first poll on.
        tokio::join!(trial.upstream.drain(PATIENCE), late).0
    };
    let (answers, drained) = tokio::join!(busy, drain);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(drained.aborted, 0);
    trial.ended([server]).await;
}

#[tokio::test]
async fn h2_a_body_without_an_end_is_cut_at_the_deadline() {
    for version in [1, 2] {
        let trial = Trial::start(if version == 1 { builder() } else { http2() }).await;
        let server = if version == 1 {
            let half = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
            trial.saying(half).await
        } else {
            streams(&trial, |mut call| {
                let mut body = call.begin();
                body.send_data("begun".into(), false).unwrap();
                tokio::spawn(stall(body));
            })
            .await
        };
        let request = trial.request("GET", &server.uri("/fault"));
        let response = trial.upstream.send(request.body(String::new()).unwrap());
        let mut body = response.await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        let start = Instant::now();
        let (end, drained) = tokio::join!(body.frame(), trial.upstream.drain(SHORT));
        assert!(start.elapsed() >= SHORT, "and not before");
        assert_eq!(end.unwrap().unwrap_err().kind(), ErrorKind::Draining);
        assert_eq!(drained.aborted, 1);
        trial.ended([server]).await;
    }
}

#[tokio::test]
async fn h3_who_waits_as_a_drain_begins_is_served_or_told_at_its_deadline() {
    for is_served in [true, false] {
        let trial = Trial::start(builder()).await;
        let (server, gate) = gated(&trial).await;
        let all = join_all((0..3 * CAP).map(|_| trial.get(server.uri("/"))));
        let drain = async {
            let waiting = || trial.upstream.stats().total.waiting == 2 * CAP;
            eventually("the others wait", waiting).await;
            if is_served {
                gate.add_permits(Semaphore::MAX_PERMITS);
            }
            let deadline = if is_served { PATIENCE } else { SHORT };
            trial.upstream.drain(deadline).await
        };
        let (answers, _) = tokio::join!(all, drain);
        for answer in answers {
            match answer {
                Ok(_) => assert!(is_served),
                Err(error) => {
                    assert!(!is_served, "{error:?}");
                    assert_failed(&error, ErrorKind::Draining, error.phase().unwrap(), 503, 14);
                }
            }
        }
        trial.ended([server]).await;
        sleep(SHORT / 10).await;
    }
}
