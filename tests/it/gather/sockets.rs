//! Through the pool, over real sockets.

use std::time::Duration;

use axum::{Router, extract::Path, routing::get, serve::ListenerExt};
use http_body_util::BodyExt;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};
use tower_upstream::{Gather, Limits, RemainderPolicy, Timeouts, Upstream};

use super::support::{next, read};
use crate::{
    support::{Server, chunked, dials::Dials, eventually, sized, sockets},
    wire::{Client, serve},
};

const WIDTH: usize = 10;

fn capped(cap: usize) -> Upstream {
    Upstream::builder()
        .limits(Limits::new().max_connections(cap).max_pending(10_000))
        .timeouts(Timeouts::new(Duration::from_secs(60)))
        // Whatever else the machine is doing, a cut rest is read on.
        .remainder(RemainderPolicy::new().max_time(Duration::from_secs(60)))
        .build()
        .unwrap()
}

/// A page in three chunks that says its path again and again.
fn page(path: &str) -> Vec<u8> {
    let line = path.repeat(30);
    chunked([&line, &line, &line])
}

#[tokio::test]
async fn the_whole_takes_as_long_as_its_slowest_leg() {
    let server = Server::answering(async |request| {
        let millis = request.path()[1..].parse().unwrap();
        sleep(Duration::from_millis(millis)).await;
        sized(format!("{millis:05}"))
    })
    .await;
    let upstream = capped(10);
    let uris = [50, 100, 150, 200, 250].map(|millis| server.uri(&format!("/{millis}")));
    let started = Instant::now();
    let mut body = Gather::get(&uris).send(&upstream).await.into_body();
    assert_eq!(next(&mut body).await.unwrap(), "00050");
    let first = started.elapsed();
    let rest = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
    let all = started.elapsed();
    assert_eq!(rest, "\n\n00100\n\n00150\n\n00200\n\n00250");
    assert!(
        first < all.mul_f64(0.8),
        "the first text came after {first:?} of {all:?}"
    );
    let sum = Duration::from_millis(50 + 100 + 150 + 200 + 250);
    assert!(
        all < sum.mul_f64(0.7),
        "all took {all:?}, one after the other take {sum:?}"
    );
}

#[tokio::test]
async fn gathers_of_gathers_over_the_wire_do_not_stall() {
    let leaves = Server::answering(async |request| page(request.path())).await;
    let leaf = leaves.uri("");
    let inner = capped(1);
    let app = Router::new().route(
        "/{parent}/{leg}",
        get(async move |Path((parent, leg)): Path<(usize, usize)>| {
            let uris = (0..3).map(|sub| format!("{leaf}/{parent}/{leg}/{sub}/"));
            Gather::get(uris).send(&inner).await
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let middle = listener.local_addr().unwrap();
    // Otherwise each answer's second piece waits for the first to be acknowledged.
    let listener = listener.tap_io(|socket| socket.set_nodelay(true).unwrap());
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    let outer = capped(2);
    let parents = (0..20).map(|parent| {
        let uris = (0..WIDTH).map(|leg| format!("http://{middle}/{parent}/{leg}"));
        let response = Gather::get(uris).send(&outer);
        async move {
            let leaf = |sub| format!("/{parent}/{}/{}/", sub / 3, sub % 3).repeat(90);
            let expected: Vec<_> = (0..3 * WIDTH).map(leaf).collect();
            assert_eq!(read(response.await).await, expected.join("\n\n"));
        }
    });
    let all = futures_util::future::join_all(parents);
    timeout(Duration::from_secs(60), all)
        .await
        .expect("nothing stalls");
}

#[tokio::test]
async fn each_fault_is_told_in_its_place_and_names_no_address() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead_address = dead.local_addr().unwrap();
    drop(dead);
    let server = Server::start(async |mut peer| {
        let Some(request) = peer.request().await? else {
            return Ok(());
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
        match request.path() {
            "/reset" => peer.write(format!("{head}half")).await,
            "/silent" => {
                peer.closed().await;
                Ok(())
            }
            "/stalls" => {
                peer.write(format!("{head}half")).await?;
                peer.closed().await;
                Ok(())
            }
            "/500" => {
                let head = "HTTP/1.1 500 Whatever\r\ncontent-length: 5\r\n\r\n";
                peer.write(format!("{head}sorry")).await
            }
            "/garbage" => peer.write("garbage\r\n\r\n").await,
            _ => peer.write(sized("fine")).await,
        }
    })
    .await;
    let upstream = Upstream::builder()
        .timeouts(Timeouts::new(Duration::from_secs(5)).read(Duration::from_secs(1)))
        .build()
        .unwrap();
    let paths = ["/", "/reset", "/silent", "/stalls", "/500", "/garbage", "/"];
    let uris = paths.map(|path| server.uri(path)).into_iter();
    let uris = uris.chain([format!("http://{dead_address}/"), "/relative".into()]);
    let expected = [
        "fine",
        "half\n[1: upstream response broke off]",
        "[2: upstream read timed out]",
        "half\n[3: upstream read timed out]",
        "[4: status 500 Internal Server Error]\nsorry",
        "[5: upstream sent an invalid response]",
        "fine",
        "[7: upstream refused the connection]",
        "[8: invalid upstream target]",
    ];
    let response = Gather::get(uris).send(&upstream).await;
    assert_eq!(read(response).await, expected.join("\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_gather_that_is_dropped_has_freed_every_connection_100_ms_later() {
    let dials = Dials::to(async |mut peer| {
        while let Some(request) = peer.request().await? {
            if request.path() == "/0" {
                peer.write(sized("first")).await?;
            } else {
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nbegun")
                    .await?;
            }
        }
        Ok(())
    });
    let upstream = dials.builder().build().unwrap();
    let uris = (0..4).map(|n| format!("http://in.process/{n}"));
    let mut body = Gather::get(uris).send(&upstream).await.into_body();
    assert!(next(&mut body).await.unwrap().starts_with("first"));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(upstream.stats().total.in_use, 3, "three are being read");
    drop(body);
    sleep(Duration::from_millis(100)).await;
    let total = upstream.stats().total;
    assert_eq!((total.in_use, total.closing), (0, 0));
    assert_eq!(dials.open(), 1, "the one that was read whole is kept");
}

#[tokio::test]
async fn a_client_that_leaves_frees_every_connection() {
    let server = Server::start(async |mut peer| {
        while let Some(request) = peer.request().await? {
            if request.path() == "/0" {
                peer.write(sized("first")).await?;
            } else {
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nbegun")
                    .await?;
            }
        }
        Ok(())
    })
    .await;
    let upstream = Upstream::builder()
        .remainder(RemainderPolicy::close())
        .build()
        .unwrap();
    let (handle, uris) = (
        upstream.clone(),
        [0, 1, 2, 3].map(|n| server.uri(&format!("/{n}"))),
    );
    let app = Router::new().route(
        "/",
        get(async move || Gather::get(uris).send(&handle).await),
    );
    let address = serve(app).await;
    let mut client = Client::get(address, "/").await;
    client.until("begun").await;
    assert_eq!(
        upstream.stats().total.in_use,
        3,
        "three legs are still being read"
    );
    drop(client);
    eventually("all connections are free", || {
        upstream.stats().total.in_use == 0 && sockets::connected_to(server.address) <= 1
    })
    .await;
}
