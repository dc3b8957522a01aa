//! The end of a runtime, with everything still under way.

use std::time::Duration;

use tower_upstream::{Limits, Timeouts, Upstream};

use crate::support::Server;

#[test]
fn a_runtime_that_ends_with_ten_thousand_waiting_requests_ends_in_peace() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(1).max_pending(10_000))
        .timeouts(Timeouts::new(Duration::from_secs(60)))
        .build()
        .unwrap();
    let server = runtime.block_on(async {
        let server = Server::start(|mut peer| async move {
            peer.closed().await;
            Ok(())
        })
        .await;
        tokio::spawn(upstream.get(server.uri("/")));
        // The connection's task is then the first to be dropped.
        while upstream.stats().total.in_use < 1 {
            tokio::task::yield_now().await;
        }
        for _ in 0..10_000 {
            tokio::spawn(upstream.get(server.uri("/")));
        }
        while upstream.stats().total.waiting < 10_000 {
            tokio::task::yield_now().await;
        }
        server
    });
    // Each socket that goes makes room for the next request's, which cannot be dialled any more.
    drop(runtime);
    let left = upstream.stats().total;
    assert_eq!((left.open, left.waiting), (0, 0), "nothing is left of it");
    drop(server);
}
