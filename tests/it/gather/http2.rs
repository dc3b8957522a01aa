//! Over HTTP/2: many legs on one connection.

use tower_upstream::{Gather, Limits, Truncate, Upstream};

use super::support::read;
use crate::{
    http2::{full, serve},
    support::eventually,
};

#[tokio::test]
async fn five_legs_share_one_connection_which_outlives_their_cuts() {
    // More than a stream's window, so that there is a rest to be cut off.
    let server = serve(100, async |request| {
        let path = request.uri().path().to_owned();
        full(path.repeat(1 << 19))
    })
    .await;
    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(10))
        .http2_prior_knowledge()
        .build()
        .unwrap();
    for round in 0..20 {
        let uris = (0..5).map(|leg| server.uri(&format!("/{leg}")));
        let legs = Gather::get(uris).truncate(Truncate::chars(50));
        let text = read(legs.send(&upstream).await).await;
        let pages: Vec<_> = (0..5).map(|leg| format!("/{leg}").repeat(25)).collect();
        assert_eq!(text, pages.join("\n\n"), "in round {round}");
        assert_eq!(server.accepted(), 1, "one connection for all of them");
    }
    eventually("no stream is left", || upstream.stats().total.in_use == 0).await;
    let stats = upstream.stats();
    assert_eq!((stats.opened, stats.total.idle), (1, 1), "and it is kept");
}
