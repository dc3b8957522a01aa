//! Group G: requests that are dropped, wherever they have come to.

use std::{
    future::Future,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::{join_all, poll_immediate};
use http_body_util::BodyExt;
use tokio::{net::TcpSocket, sync::Semaphore, time::sleep};
use tower_upstream::{Gather, Limits, UpstreamBody};

use super::{
    SHORT, builder,
    http2::{http2, streams},
    patient,
    pool::gated,
};
use crate::{
    support::{
        Server, echo, eventually,
        http2::stall,
        ms,
        trial::{CAP, Trial},
    },
    tls::Authority,
};

/// More than fits into the buffers of a socket.
const LARGE: usize = 16 << 20;

/// Drops the exchange as soon as this holds.
async fn leave_when(exchange: impl Future, sentence: &str, condition: impl FnMut() -> bool) {
    tokio::select! {
        _ = exchange => panic!("it is over before this holds: {sentence}"),
        () = eventually(sentence, condition) => {}
    }
}

#[tokio::test]
async fn g1_in_the_queue() {
    let trial = Trial::start(builder()).await;
    let (server, gate) = gated(&trial).await;
    let held = join_all((0..CAP).map(|_| trial.get(server.uri("/"))));
    let leaver = async {
        let waits = || trial.upstream.stats().total.waiting == 1;
        leave_when(trial.get(server.uri("/")), "it waits", waits).await;
        assert_eq!(trial.upstream.stats().total.waiting, 0, "its place is free");
        gate.add_permits(Semaphore::MAX_PERMITS);
    };
    let (answers, ()) = tokio::join!(held, leaver);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.seen().len(), CAP, "it has sent nothing");
    trial.over([server]).await;
}

#[tokio::test]
async fn g2_with_a_connection_that_it_has_not_taken_yet() {
    let limits = Limits::new().max_connections(1);
    let trial = Trial::capped(1, builder().limits(limits)).await;
    let (server, gate) = gated(&trial).await;
    #[expect(
        clippy::async_yields_async,
        reason = "it is to be dropped, not awaited"
    )]
    let first = async {
        let mut leaver = Box::pin(trial.get(server.uri("/")));
        eventually("the other is at work", || server.seen().len() == 1).await;
        assert!(poll_immediate(&mut leaver).await.is_none(), "it waits");
        gate.add_permits(1);
        leaver
    };
    let (answer, leaver) = tokio::join!(trial.get(server.uri("/")), first);
    answer.unwrap();
    eventually("the connection is its own now", || {
        let total = trial.upstream.stats().total;
        (total.in_use, total.waiting) == (1, 0)
    })
    .await;
    drop(leaver);
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    assert_eq!(server.seen().len(), 1, "it has sent nothing");
    trial.over([server]).await;
}

#[tokio::test]
async fn g3_while_the_name_is_looked_up() {
    let trial = Trial::start(builder()).await;
    let server = trial.server(echo::serve).await;
    let uri = format!("http://localhost:{}/", server.address.port());
    for _ in 0..20 {
        assert!(poll_immediate(trial.get(&uri)).await.is_none());
    }
    assert_eq!(server.seen().len(), 0, "none has come to be sent");
    trial.over([server]).await;
}

#[tokio::test]
async fn g4_while_tcp_connects() {
    let trial = Trial::start(builder().timeouts(patient().connect(SHORT))).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let filler = tokio::net::TcpStream::connect(address).await.unwrap();
    let connects = || trial.upstream.stats().total.connecting == 1;
    let uri = format!("http://{address}/");
    leave_when(trial.get(uri), "it connects", connects).await;
    drop((listener, filler));
    trial.over([]).await;
}

#[tokio::test]
async fn g5_in_the_handshake_of_tls() {
    let authority = Authority::new("localhost");
    let builder = builder().tls(authority.trusting);
    let trial = Trial::start(builder.timeouts(patient().connect(SHORT))).await;
    let server = trial.server(|mut peer| async move {
        peer.closed().await;
        Ok(())
    });
    let server = server.await.over_tls();
    let begun = || server.accepted() == 1;
    leave_when(trial.get(server.uri("/")), "it has begun", begun).await;
    drop(server);
    trial.over([]).await;
}

/// An upstream on whose first connection a request begins and does not end. It reads the head of it, or
/// nothing; it says when that has come; and it reads the rest when it is told to.
async fn reading(trial: &Trial, head: bool) -> (Server, Arc<AtomicBool>, Arc<Semaphore>) {
    let (begun, gate) = (Arc::<AtomicBool>::default(), Arc::new(Semaphore::new(0)));
    let server = trial.server({
        let (begun, gate) = (begun.clone(), gate.clone());
        move |mut peer| {
            let (begun, gate) = (begun.clone(), gate.clone());
            async move {
                if peer.number > 0 {
                    return echo::serve(peer).await;
                }
                if head {
                    peer.head().await?;
                } else {
                    peer.stream.peek(&mut [0]).await?;
                }
                peer.fault();
                begun.store(true, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                let rest = peer.drain(LARGE).await;
                assert!(rest.is_err(), "what was begun never looks whole");
                Ok(())
            }
        }
    });
    (server.await, begun, gate)
}

#[tokio::test]
async fn g6_while_its_head_is_written() {
    let trial = Trial::start(builder()).await;
    let (server, begun, gate) = reading(&trial, false).await;
    let request = trial.request("GET", &server.uri("/"));
    let request = request.header("x-large", "x".repeat(LARGE));
    let exchange = trial.send(request.body(String::new()).unwrap());
    let is_begun = || begun.load(Ordering::SeqCst);
    leave_when(exchange, "it is being written", is_begun).await;
    gate.add_permits(1);
    trial.over([server]).await;
}

#[tokio::test]
async fn g7_within_its_body() {
    let trial = Trial::start(builder()).await;
    let (server, begun, gate) = reading(&trial, true).await;
    let request = trial.request("POST", &server.uri("/"));
    let exchange = trial.send(request.body("x".repeat(LARGE)).unwrap());
    let is_begun = || begun.load(Ordering::SeqCst);
    leave_when(exchange, "its head has come", is_begun).await;
    gate.add_permits(1);
    trial.over([server]).await;
}

#[tokio::test]
async fn g7_within_its_body_over_http2() {
    let trial = Trial::start(http2()).await;
    let server = streams(&trial, |mut call| {
        // Its window is not opened.
        tokio::spawn(async move { call.left().await });
    })
    .await;
    let request = trial.request("POST", &server.uri("/fault"));
    let exchange = trial.send(request.body("x".repeat(LARGE)).unwrap());
    leave_when(exchange, "its head has come", || server.seen().len() == 1).await;
    trial.over([server]).await;
}

#[tokio::test]
async fn g8_while_the_answer_is_awaited() {
    let trial = Trial::start(builder()).await;
    let server = trial.saying("").await;
    let exchange = trial.get(server.uri("/fault"));
    leave_when(exchange, "it has come", || server.requests() == 1).await;
    trial.over([server]).await;

    let trial = Trial::start(http2()).await;
    let server = streams(&trial, |mut call| {
        tokio::spawn(async move { call.left().await });
    })
    .await;
    let exchange = trial.get(server.uri("/fault"));
    leave_when(exchange, "it has come", || server.seen().len() == 1).await;
    trial.over([server]).await;
}

/// The body of an answer, of which "begun" has come.
async fn begun(trial: &Trial, server: &Server) -> UpstreamBody {
    let request = trial.request("GET", &server.uri("/fault"));
    let response = trial.upstream.send(request.body(String::new()).unwrap());
    let mut body = response.await.unwrap().into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "begun");
    body
}

#[tokio::test]
async fn g9_within_the_body_of_the_answer() {
    let trial = Trial::start(builder()).await;
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
    let server = trial.saying(half).await;
    drop(begun(&trial, &server).await);
    trial.over([server]).await;

    let trial = Trial::start(http2()).await;
    let server = streams(&trial, |mut call| {
        let mut body = call.begin();
        body.send_data("begun".into(), false).unwrap();
        tokio::spawn(stall(body));
    })
    .await;
    drop(begun(&trial, &server).await);
    trial.over([server]).await;
}

#[tokio::test]
async fn g10_after_the_last_byte_and_before_the_trailers() {
    for trailers in ["", "0\r\n", "0\r\nx-sum: 1\r\n"] {
        let trial = Trial::start(builder()).await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum";
        let server = trial
            .saying(format!("{head}\r\n\r\n5\r\nbegun\r\n{trailers}"))
            .await;
        drop(begun(&trial, &server).await);
        trial.over([server]).await;
    }
}

#[tokio::test]
async fn g12_a_gather_with_all_its_legs() {
    let trial = Trial::start(builder()).await;
    let (server, gate) = gated(&trial).await;
    let legs = (0..10).map(|_| trial.request("GET", &server.uri("/")).body(String::new()));
    let gather = Gather::new(legs.map(Result::unwrap));
    let all_are_there = || {
        let total = trial.upstream.stats().total;
        (total.in_use, total.waiting) == (CAP, 10 - CAP)
    };
    leave_when(gather.send(&trial.upstream), "all are there", all_are_there).await;
    assert_eq!(trial.upstream.stats().total.waiting, 0);
    gate.add_permits(Semaphore::MAX_PERMITS);
    trial.over([server]).await;
}

#[tokio::test]
async fn g13_as_a_panic_unwinds() {
    let trial = Trial::start(builder()).await;
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
    let server = trial.saying(half).await;
    let body = begun(&trial, &server).await;
    let waiting = Box::pin(trial.upstream.get(server.uri("/fault")));
    let unwinds = tokio::spawn(async move {
        let (_body, mut waiting) = (body, waiting);
        assert!(poll_immediate(&mut waiting).await.is_none());
        sleep(ms(1)).await;
        // As a panic, but for the message.
        resume_unwind(Box::new("as the test wants it"));
    });
    assert!(unwinds.await.unwrap_err().is_panic());
    trial.over([server]).await;
}
