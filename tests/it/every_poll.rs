//! An exchange dropped at its k-th poll, for every k, leaves nothing behind.

use std::{future::poll_fn, net::SocketAddr, pin::pin, task::Poll, time::Duration};

use futures_util::future::BoxFuture;
use http::Request;
use tokio::time::sleep;
use tower_upstream::{Limits, RemainderPolicy, Upstream, UpstreamBuilder};

use crate::{
    http2,
    support::{
        Server, chunked,
        dials::{Dials, URI},
        eventually, sized, sockets,
    },
    tls::Authority,
};

/// Polls at most `polls` times, then drops. Whether it came to its end.
async fn drop_at<F: Future>(future: F, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(cx).map(|_| true)
    })
    .await
}

/// One exchange, body and all.
async fn exchange(upstream: Upstream, uri: String, body: &'static str) {
    let request = Request::put(uri).body(body.to_owned()).unwrap();
    let response = upstream.send(request).await.unwrap();
    response.into_body().bytes(1 << 20).await.unwrap();
}

/// What goes on until the exchange has been dropped.
type Held<'a> = BoxFuture<'a, Vec<Box<dyn Send>>>;

/// There is an idle connection.
fn after_another(upstream: &Upstream) -> Held<'_> {
    Box::pin(async {
        exchange(upstream.clone(), URI.into(), "").await;
        sleep(Duration::from_millis(1)).await;
        Vec::new()
    })
}

/// For every k: a new pool, what comes before, the exchange dropped at its k-th poll, and a look at
/// what is left. Ends with the k at which the exchange is never dropped.
async fn at_every_poll(
    dials: impl Fn() -> Dials,
    max_connections: usize,
    before: fn(&Upstream) -> Held<'_>,
) {
    for polls in 0..1000 {
        let dials = dials();
        let upstream = dials
            .builder()
            .limits(Limits::new().max_connections(max_connections))
            .build()
            .unwrap();
        let held = before(&upstream).await;
        let whole = drop_at(exchange(upstream.clone(), URI.into(), ""), polls).await;
        drop(held);
        sleep(Duration::from_secs(1)).await;
        let total = upstream.stats().total;
        let busy = total.connecting + total.in_use + total.closing + total.waiting;
        assert_eq!(busy, 0, "dropped at poll {polls}, it leaves {total:?}");
        assert_eq!(dials.open(), total.idle, "no socket without a slot");
        assert!(dials.peak() <= max_connections, "and none above the cap");
        exchange(upstream.clone(), URI.into(), "").await;
        drop(upstream);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(dials.open(), 0, "dropped at poll {polls}");
        if whole {
            assert!(polls > 1, "there was something to drop");
            return;
        }
    }
    panic!("it never came to its end");
}

/// A server whose every step takes its time, so that there are many points to be dropped at.
fn slow() -> Dials {
    Dials::to(|mut peer| async move {
        while peer.request().await?.is_some() {
            let response = chunked(["some", "more", "text"]);
            for piece in response.chunks(20) {
                sleep(Duration::from_millis(1)).await;
                peer.write(piece).await?;
            }
        }
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn on_a_new_connection() {
    at_every_poll(slow, 1, |_| Box::pin(async { Vec::new() })).await;
}

#[tokio::test(start_paused = true)]
async fn on_a_reused_connection() {
    at_every_poll(slow, 1, after_another).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_queue() {
    at_every_poll(slow, 1, |upstream| {
        Box::pin(async {
            let other = tokio::spawn(exchange(upstream.clone(), URI.into(), ""));
            tokio::task::yield_now().await;
            vec![Box::new(other) as Box<dyn Send>]
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn in_the_queue_for_the_slot_of_another_origin() {
    at_every_poll(slow, 1, |upstream| {
        Box::pin(async {
            let other = "http://other.process/".to_owned();
            let other = tokio::spawn(exchange(upstream.clone(), other, ""));
            tokio::task::yield_now().await;
            vec![Box::new(other) as Box<dyn Send>]
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_the_connection_dies_and_it_is_sent_again() {
    let dials = || {
        Dials::to(|mut peer| async move {
            let mut served = 0;
            while peer.request().await?.is_some() {
                sleep(Duration::from_millis(1)).await;
                if peer.number == 0 && served == 1 {
                    break;
                }
                served += 1;
                peer.write(sized("x")).await?;
            }
            Ok(())
        })
    };
    at_every_poll(dials, 1, after_another).await;
}

/// As [`at_every_poll`], over sockets of the kernel's.
async fn at_every_poll_on(address: SocketAddr, uri: String, builder: impl Fn() -> UpstreamBuilder) {
    for polls in 0..1000 {
        let upstream = builder().build().unwrap();
        let whole = drop_at(exchange(upstream.clone(), uri.clone(), "hello"), polls).await;
        eventually("everything is over", || {
            let total = upstream.stats().total;
            total.open == total.idle && total.waiting == 0
        })
        .await;
        drop(upstream);
        eventually("every socket is closed", || {
            sockets::connected_to(address) == 0
        })
        .await;
        if whole {
            return;
        }
    }
    panic!("it never came to its end");
}

#[tokio::test]
async fn over_tcp() {
    let server = Server::answering(|_| async { chunked(["some", "text"]) }).await;
    at_every_poll_on(server.address, server.uri("/"), Upstream::builder).await;
}

#[tokio::test]
async fn over_http2() {
    let server = http2::serve(100, |request| async move {
        drop(request);
        sleep(Duration::from_millis(1)).await;
        http2::full("some text")
    })
    .await;
    let builder = || Upstream::builder().http2_prior_knowledge();
    at_every_poll_on(server.address, server.uri("/"), builder).await;
}

#[tokio::test]
async fn over_tls() {
    let authority = Authority::new("localhost");
    let server = authority.serve().await;
    let uri = format!("https://localhost:{}/", server.address.port());
    at_every_poll_on(server.address, uri, || {
        Upstream::builder().tls(authority.trusting.clone())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_at_every_poll_whatever_becomes_of_its_rest() {
    for policy in [RemainderPolicy::new(), RemainderPolicy::close()] {
        for polls in 0..1000 {
            let dials = slow();
            let builder = dials.builder().remainder(policy);
            let upstream = builder.build().unwrap();
            let body = upstream.get(URI).await.unwrap().into_body();
            let whole = drop_at(body.bytes(1 << 20), polls).await;
            sleep(Duration::from_secs(1)).await;
            let total = upstream.stats().total;
            assert_eq!(total.open, total.idle, "dropped at poll {polls}");
            assert_eq!(dials.open(), total.idle, "dropped at poll {polls}");
            if whole {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_at_every_poll() {
    for polls in 0..1000 {
        let dials = slow();
        let upstream = dials.builder().build().unwrap();
        let body = upstream.get(URI).await.unwrap().into_body();
        let whole = drop_at(upstream.drain(Duration::from_millis(2)), polls).await;
        drop(body);
        sleep(Duration::from_secs(1)).await;
        let left = if polls == 0 { dials.open() } else { 0 };
        assert_eq!(dials.open(), left, "given up at poll {polls}, it goes on");
        if whole {
            return;
        }
    }
}
