//! What cannot work is refused by an error that names it.

use std::time::Duration;

use http::Request;
use tower_upstream::{ErrorKind, Limits, Upstream};

use crate::support::dials::Dials;

#[track_caller]
fn refused(limits: Limits, named: &str) {
    let error = Upstream::builder().limits(limits).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains(named), "{text:?} names {named:?}");
}

#[test]
fn limits_that_let_nothing_through_are_refused() {
    refused(Limits::new().max_connections(0), "max_connections is 0");
    refused(
        Limits::new().max_connections_per_origin(0),
        "max_connections_per_origin is 0",
    );
}

#[test]
fn an_idle_cap_above_the_total_is_refused_only_when_it_was_asked_for() {
    let limits = Limits::new().max_connections(10);
    refused(
        limits.max_idle_connections(11),
        "max_idle_connections is 11",
    );
    for fine in [limits, limits.max_idle_connections(10)] {
        assert!(Upstream::builder().limits(fine).build().is_ok());
    }
}

#[test]
fn pings_without_a_pause_are_refused() {
    let pings = |interval| Upstream::builder().http2_keep_alive(interval, Duration::from_secs(1));
    let error = pings(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("http2_keep_alive"), "{error}");
    assert!(pings(Duration::from_millis(1)).build().is_ok());
}

#[test]
fn a_window_is_no_larger_than_http2_allows() {
    let with = |bytes| Upstream::builder().http2_stream_window(bytes).build();
    with((1 << 31) - 1).unwrap();
    for bytes in [0, 1 << 31] {
        let error = with(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error.to_string().contains("http2_stream_window"),
            "it is named: {error}"
        );
    }
}

#[test]
fn settings_that_a_connector_would_not_see_are_refused_beside_it() {
    let dials = || Dials::tcp().builder();
    let builder = dials().allow_addresses(|_| true);
    let text = builder.build().unwrap_err().to_string();
    assert!(text.contains("allow_addresses"), "{text}");
}

#[tokio::test]
async fn a_target_that_cannot_be_called_is_refused_by_name_and_without_a_dial() {
    let dials = Dials::tcp();
    let upstream = dials.builder().build().unwrap();
    for (uri, named) in [
        ("/relative?secret", "\"/relative\""),
        ("ftp://host/", "\"ftp\""),
        ("http://user:password@host/", "credentials"),
        ("http://host:0/", ":0"),
        ("http://host:70000/", "70000"),
    ] {
        let error = upstream.get(uri).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::InvalidTarget, "{uri}: {text}");
        assert!(text.contains(named), "{text:?} names {named:?}");
        assert!(
            !text.contains("secret") && !text.contains("password"),
            "and keeps what is secret: {text:?}"
        );
    }
    let error = upstream.get("not a uri").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTarget);
    let connect = Request::connect("http://host:80/").body(String::new());
    let error = upstream.send(connect.unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTarget);
    assert_eq!((dials.dialed(), upstream.stats().total.open), (0, 0));
}
