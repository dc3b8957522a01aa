//! Sockets never exceed the limits, those being opened or closed included.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{net::TcpStream, sync::Semaphore};
use tower_upstream::{CloseCause, ErrorKind, Limits, Timeouts, Upstream};

use crate::support::{Server, dials::Dials, eventually, sized, sockets};

async fn get(upstream: &Upstream, uri: String) -> String {
    let response = upstream.get(uri).await.unwrap();
    response.into_body().text(1000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_origins_share_a_cap_and_never_pass_it() {
    for cap in [1, 3] {
        let addresses = Arc::new(std::sync::Mutex::new(Vec::new()));
        let most = Arc::new(AtomicUsize::new(0));
        let mut servers = Vec::new();
        for _ in 0..5 {
            let (addresses, most) = (addresses.clone(), most.clone());
            servers.push(
                Server::answering(move |request| {
                    if request.path() == "/look" {
                        let open = sockets::connected_to_any(&addresses.lock().unwrap());
                        most.fetch_max(open, Ordering::SeqCst);
                    }
                    async { sized("x") }
                })
                .await,
            );
        }
        *addresses.lock().unwrap() = servers.iter().map(|server| server.address).collect();
        let dials = Dials::tcp();
        let limits = Limits::new().max_connections(cap);
        let builder = dials.builder().limits(limits);
        let upstream = builder
            .timeouts(Timeouts::default().pool(None))
            .build()
            .unwrap();
        let paths = ["/", "/", "/", "/look"];
        let requests = (0..60).map(|i| get(&upstream, servers[i % 5].uri(paths[i % 4])));
        let texts = join_all(requests).await;
        assert_eq!(texts, ["x"; 60], "all are answered");
        assert_eq!(dials.peak(), cap, "the connector counted no more");
        assert_eq!(most.load(Ordering::SeqCst), cap, "nor did the kernel");
        assert_eq!(upstream.stats().peak, cap, "nor the pool");
    }
}

#[tokio::test]
async fn one_origin_stays_within_its_own_cap() {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = gate.clone();
    let busy = Server::answering(move |_| {
        let gate = waiting.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            sized("slow")
        }
    })
    .await;
    let other = Server::saying("quick").await;
    let limits = Limits::new().max_connections(3);
    let upstream = Upstream::builder()
        .limits(limits.max_connections_per_origin(2))
        .build()
        .unwrap();
    let slow = join_all((0..6).map(|_| get(&upstream, busy.uri("/"))));
    let quick = async {
        eventually("two are under way", || busy.requests() == 2).await;
        assert_eq!(get(&upstream, other.uri("/")).await, "quick");
        assert_eq!(sockets::connected_to(busy.address), 2, "of one origin");
        gate.add_permits(6);
    };
    tokio::join!(slow, quick);
    assert_eq!(busy.peak(), 2, "the third slot was never the busy one's");
}

#[tokio::test]
async fn ten_requests_at_a_cap_of_one_make_one_dial_and_after_a_loss_one_more() {
    let server = Server::answering(|request| async move {
        if request.path() == "/last" {
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec()
        } else {
            sized("x")
        }
    })
    .await;
    let dials = Dials::tcp();
    let limits = Limits::new().max_connections(1);
    let upstream = dials.builder().limits(limits).build().unwrap();
    join_all((0..10).map(|_| get(&upstream, server.uri("/")))).await;
    assert_eq!(dials.dialed(), 1, "one connection serves ten");
    get(&upstream, server.uri("/last")).await;
    join_all((0..10).map(|_| get(&upstream, server.uri("/")))).await;
    assert_eq!(dials.dialed(), 2, "and one more takes its place");
    assert_eq!(dials.peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_in_progress_counts() {
    let dials = Dials::new(|_| std::future::pending::<io::Result<TcpStream>>());
    let upstream = dials
        .builder()
        .limits(Limits::new().max_connections(1))
        .timeouts(Timeouts::default().pool(Duration::from_secs(1)))
        .build()
        .unwrap();
    let first = tokio::spawn(upstream.get("http://one.test/"));
    tokio::task::yield_now().await;
    let error = upstream.get("http://two.test/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolTimeout, "there is no room");
    assert_eq!((dials.dialed(), upstream.stats().total.connecting), (1, 1));
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
    assert_eq!(
        upstream.stats().total.open,
        0,
        "a failed dial frees its slot"
    );
    assert_eq!(dials.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_idle_cap_counts_idle_connections_only() {
    let dials = Dials::answering(sized("x"));
    let limits = Limits::new().max_connections(10).max_idle_connections(5);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let get = || upstream.get("http://in.process/");
    let held = join_all((0..6).map(|_| get())).await;
    assert_eq!(dials.dialed(), 6);
    for response in held {
        response.unwrap().into_body().bytes(10).await.unwrap();
        drop(get().await.unwrap().into_body().bytes(10).await.unwrap());
    }
    assert_eq!(
        (dials.dialed(), upstream.stats().closed(CloseCause::Surplus)),
        (6, 1),
        "those in use are no reason to close one; the sixth idle one is"
    );
    tokio::task::yield_now().await;
    assert_eq!((dials.open(), upstream.stats().total.idle), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_another_origin_makes_room_at_the_cap() {
    let dials = Dials::answering(sized("x"));
    let limits = Limits::new().max_connections(2);
    let upstream = dials.builder().limits(limits).build().unwrap();
    for host in ["a", "b", "a", "c"] {
        get(&upstream, format!("http://{host}.test/")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stats = upstream.stats();
    let mut hosts: Vec<_> = stats
        .origins
        .iter()
        .map(|(origin, _)| origin.host())
        .collect();
    hosts.sort_unstable();
    assert_eq!(
        hosts,
        ["a.test", "c.test"],
        "it is the one that was not used for longest"
    );
    assert_eq!(dials.peak(), 2, "its socket was gone before the next came");
    assert_eq!(stats.closed(CloseCause::Evicted), 1);
}

#[tokio::test(start_paused = true)]
async fn limits_can_change_while_requests_run() {
    let dials = Dials::answering(sized("x"));
    let limits = Limits::new().max_connections(6).max_idle_connections(6);
    let upstream = dials.builder().limits(limits).build().unwrap();
    let get = || upstream.get("http://in.process/");
    let mut held: Vec<_> = join_all((0..6).map(|_| get())).await;
    for response in held.drain(..3) {
        response.unwrap().into_body().bytes(10).await.unwrap();
    }
    tokio::task::yield_now().await;
    assert_eq!(upstream.stats().total.idle, 3);
    let error = upstream.set_limits(limits.max_connections(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "and nothing changes");
    upstream
        .set_limits(Limits::new().max_connections(2))
        .unwrap();
    eventually("idle ones go first", || dials.open() == 3).await;
    let waiting = tokio::spawn(get());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(dials.dialed(), 6, "nothing is dialled above the cap");
    for response in held {
        let body = response.unwrap().into_body();
        assert_eq!(body.text(10).await.unwrap(), "x", "none was cut");
    }
    let response = waiting.await.unwrap().unwrap();
    assert_eq!(response.into_body().text(10).await.unwrap(), "x");
    eventually("the cap is kept", || dials.open() <= 2).await;
    upstream.set_limits(limits).unwrap();
    let held = join_all((0..6).map(|_| get())).await;
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(dials.open(), 6, "raised, it is used at once");
}

#[tokio::test(start_paused = true)]
async fn a_lower_idle_timeout_holds_for_those_that_are_idle_already() {
    let dials = Dials::answering(sized("x"));
    let limits = Limits::new().idle_timeout(Duration::from_secs(60));
    let upstream = dials.builder().limits(limits).build().unwrap();
    get(&upstream, "http://in.process/".into()).await;
    let lower = limits.idle_timeout(Duration::from_secs(1));
    upstream.set_limits(lower).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(dials.open(), 0, "it is closed by its new time");
}
