//! Group A: connecting.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::{join_all, poll_immediate};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep},
};
use tower_upstream::{ErrorKind, Limits, Phase};

use super::{SHORT, any_connector, assert_failed, assert_unsent, builder, patient};
use crate::support::{
    Server,
    alone::{assert_pass_alone, is_alone},
    dials::Dials,
    echo, eventually,
    trial::{CAP, Trial},
};

/// An address that refuses connections, and that nobody else can come to listen on.
fn nobody() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

/// A server whose queue of connections is full and stays so, and what fills it.
async fn black_hole() -> (TcpListener, TcpStream) {
    let listener = nobody().listen(0).unwrap();
    let filler = TcpStream::connect(listener.local_addr().unwrap()).await;
    (listener, filler.unwrap())
}

#[tokio::test]
async fn a1_a_closed_port_refuses() {
    let trial = Trial::start(builder()).await;
    let closed = nobody();
    let uri = format!("http://{}/", closed.local_addr().unwrap());
    for _ in 0..3 {
        let error = trial.fails(&uri).await;
        assert_failed(&error, ErrorKind::ConnectRefused, Phase::Connect, 502, 14);
        assert_unsent(&error);
    }
    assert_eq!(trial.upstream.stats().connect_failed, 3);
    let server = Server::start_on(closed.listen(16).unwrap(), echo::serve);
    trial.over([server]).await;
}

#[tokio::test]
async fn a2_a_syn_without_an_answer_times_out_and_no_other_origin_waits_for_it() {
    let limits = Limits::new().max_connections(CAP);
    let trial = Trial::start(
        builder()
            .limits(limits.max_connections_per_origin(CAP - 1))
            .timeouts(patient().connect(SHORT)),
    )
    .await;
    let (listener, filler) = black_hole().await;
    let server = trial.server(echo::serve).await;
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let start = Instant::now();
    let other = async {
        // While the dial hangs, for all of its time.
        sleep(SHORT / 3).await;
        assert_eq!(trial.upstream.stats().total.connecting, CAP - 1);
        trial.get(server.uri("/")).await.unwrap();
        assert_eq!(trial.upstream.stats().total.connecting, CAP - 1);
    };
    let (error, ()) = tokio::join!(trial.fails(&uri), other);
    assert_failed(&error, ErrorKind::ConnectTimeout, Phase::Connect, 504, 14);
    assert_unsent(&error);
    assert!(start.elapsed() >= SHORT, "and not before");
    drop((listener, filler));
    // What a trial ends with takes all connections for one origin.
    trial.upstream.set_limits(limits).unwrap();
    trial.over([server]).await;
}

#[tokio::test]
async fn a3_an_address_without_a_route_fails_at_once() {
    let trial = Trial::start(builder()).await;
    // TCP has no way to a group of hosts, whatever the routes are.
    let error = trial.fails("http://224.0.0.1/").await;
    assert_failed(&error, ErrorKind::Unreachable, Phase::Connect, 502, 14);
    assert_unsent(&error);
    trial.over([]).await;
}

#[tokio::test]
async fn a4_a_name_that_does_not_exist_fails() {
    let trial = Trial::start(builder()).await;
    let error = trial.fails("http://nope.invalid/").await;
    assert_failed(&error, ErrorKind::Dns, Phase::Connect, 502, 14);
    assert_unsent(&error);
    trial.over([]).await;
}

#[tokio::test]
async fn a6_a_hundred_connections_reset_at_once_are_a_hundred_errors_and_no_more_dials() {
    let trial = Trial::start(builder()).await;
    let reset = Arc::new(AtomicBool::new(true));
    let server = trial
        .server({
            let reset = reset.clone();
            move |peer| {
                let reset = reset.load(Ordering::SeqCst);
                async move {
                    if reset {
                        return Err(peer.reset());
                    }
                    echo::serve(peer).await
                }
            }
        })
        .await;
    for _ in 0..100 {
        let error = trial.fails(server.uri("/")).await;
        // Whether the reset comes before or after the request is for the kernel to say.
        assert_failed(&error, ErrorKind::Closed, error.phase().unwrap(), 502, 14);
    }
    assert_eq!(server.accepted(), 100, "one dial a request");
    reset.store(false, Ordering::SeqCst);
    trial.over([server]).await;
}

#[tokio::test]
async fn a7_without_a_descriptor_left_it_fails_and_recovers() {
    if !is_alone() {
        // The limit is the process's, so the test has one to itself.
        let this = "faults::connect::a7_without_a_descriptor_left_it_fails_and_recovers";
        return assert_pass_alone("ulimit -n 64", &["--exact", this]);
    }
    let trial = Trial::start(builder()).await;
    let server = trial.server(echo::serve).await;
    let mut all = Vec::new();
    // Without an address to look at, the last of them is missing for the socket.
    while let Ok(file) = std::fs::File::open("/dev/null") {
        all.push(file);
    }
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::OutOfSockets, Phase::Connect, 503, 14);
    assert_unsent(&error);
    drop(all);
    trial.over([server]).await;
}

#[tokio::test]
async fn a8_without_a_port_left_it_fails_and_recovers() {
    // By a connector that says what the kernel would: all ports of this machine are others', too.
    const EADDRNOTAVAIL: i32 = 99;
    let exhausted = Arc::new(AtomicBool::new(true));
    let dials = Dials::new({
        let exhausted = exhausted.clone();
        move |uri| {
            let exhausted = exhausted.load(Ordering::SeqCst);
            async move {
                if exhausted {
                    return Err(io::Error::from_raw_os_error(EADDRNOTAVAIL));
                }
                TcpStream::connect(uri.authority().unwrap().as_str()).await
            }
        }
    });
    let trial = Trial::start(any_connector().connector(dials.clone())).await;
    let server = trial.server(echo::serve).await;
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::OutOfSockets, Phase::Connect, 503, 14);
    assert_unsent(&error);
    exhausted.store(false, Ordering::SeqCst);
    trial.over([server]).await;
    assert_eq!(dials.open(), 0);
}

#[tokio::test]
async fn a9_a_dial_that_succeeds_after_its_request_has_left_ends_in_the_pool_once() {
    let gate = Arc::new(Semaphore::new(0));
    let dials = Dials::new({
        let gate = gate.clone();
        move |uri| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                TcpStream::connect(uri.authority().unwrap().as_str()).await
            }
        }
    });
    let trial = Trial::start(any_connector().connector(dials.clone())).await;
    let server = trial.server(echo::serve).await;
    let left = poll_immediate(trial.get(server.uri("/"))).await;
    assert!(left.is_none(), "it is dialling, and leaves");
    gate.add_permits(1);
    eventually("the connection is in the pool", || {
        let total = trial.upstream.stats().total;
        (total.open, total.idle) == (1, 1)
    })
    .await;
    trial.get(server.uri("/")).await.unwrap();
    assert_eq!(dials.dialed(), 1, "and serves the next");
    gate.add_permits(100);
    trial.over([server]).await;
    assert_eq!(dials.open(), 0);
}

#[tokio::test]
async fn a10_fifty_that_wait_for_a_dial_are_served_though_its_first_request_leaves() {
    let trial = Trial::start(builder().http2_prior_knowledge()).await;
    let gate = Arc::new(Semaphore::new(0));
    let server = trial
        .server({
            let gate = gate.clone();
            move |peer| {
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    echo::serve_http2(peer).await
                }
            }
        })
        .await;
    let mut first = Box::pin(trial.get(server.uri("/")));
    assert!(poll_immediate(&mut first).await.is_none());
    let others = (0..50).map(|_| trial.get(server.uri("/")));
    let cancel = async {
        eventually("it is being dialled", || server.accepted() == 1).await;
        drop(first);
        gate.add_permits(1);
    };
    let (texts, ()) = tokio::join!(join_all(others), cancel);
    assert!(texts.iter().all(Result::is_ok), "{texts:?}");
    assert_eq!(server.accepted(), 1, "by the one dial");
    gate.add_permits(100);
    trial.over([server]).await;
}
