use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower_upstream::{Error, ErrorKind, Gather, Order};

use super::support::*;

async fn later_first(index: usize) -> Answer {
    pause(100 * (3 - index as u64)).await;
    if index == 1 {
        return Err("refused".into());
    }
    Ok(text("fine"))
}

#[tokio::test(start_paused = true)]
async fn legs_tell_their_place_uri_and_time_to_head() {
    for (order, expected) in [(Order::Request, [0, 1, 2]), (Order::Completion, [2, 1, 0])] {
        let legs = Gather::get(uris(3))
            .order(order)
            .stream(&upstream(later_first));
        let legs: Vec<_> = legs.collect().await;
        for (leg, index) in legs.into_iter().zip(expected) {
            assert_eq!(leg.index, index, "{order:?}");
            assert_eq!(leg.uri.unwrap().path(), format!("/{index}"));
            let waited = 100 * (3 - index as u64);
            assert_eq!(leg.head_after, Duration::from_millis(waited));
            match leg.result {
                Ok(response) => assert_eq!(response.collect().await.unwrap().to_bytes(), "fine"),
                Err(error) => assert_eq!((index, error.to_string()), (1, "refused".to_owned())),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_a_uri_is_a_leg_s_error() {
    let uris = ["http://upstream/0", "http://not a host/"];
    let service = upstream(async |_| Ok(text("fine")));
    let legs: Vec<_> = Gather::get(uris).stream(&service).collect().await;
    assert!(legs[0].result.is_ok(), "the other is sent");
    let error = legs[1].result.as_ref().unwrap_err();
    let error = Error::find(&**error).unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidTarget);
    assert_eq!(legs[1].uri, None, "there is none to tell");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_fast_ends_with_the_failure() {
    let gather = Gather::get(uris(3)).fail_fast();
    let legs: Vec<_> = gather.stream(&upstream(later_first)).collect().await;
    assert_eq!(legs.len(), 1, "the leg before it was still waited for");
    assert_eq!(legs[0].index, 1);
    assert!(legs[0].result.is_err());
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_legs_without_a_head_are_timed_out() {
    let started = Instant::now();
    let gather = Gather::get(uris(3)).deadline(Duration::from_millis(250));
    let legs: Vec<_> = gather.stream(&upstream(later_first)).collect().await;
    assert_eq!(started.elapsed(), Duration::from_millis(250));
    let error = legs[0].result.as_ref().unwrap_err();
    let kind = Error::find(&**error).unwrap().kind();
    assert_eq!(
        kind,
        ErrorKind::TotalTimeout,
        "its head would have taken 300 ms"
    );
    assert_eq!(legs[0].head_after, Duration::from_millis(250));
    assert!(
        legs[2].result.is_ok(),
        "a head that was there is handed out"
    );
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_drops_what_has_not_been_handed_out() {
    let live = Live::default();
    let counted = live.clone();
    let service = upstream(move |index| {
        let guard = counted.enter();
        async move {
            pause(100 * index as u64).await;
            Ok(holding(text("fine"), guard))
        }
    });
    let mut legs = Gather::get(uris(3)).stream(&service);
    let first = legs.next().await.unwrap();
    assert_eq!(live.now(), 3, "one is here and two are under way");
    drop(legs);
    assert_eq!(live.now(), 1, "what was handed out is the caller's");
    drop(first);
    assert_eq!(live.now(), 0);
}
