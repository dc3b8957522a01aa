use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;
use tower_upstream::{Format, Gather, GatherBody, Leg, Legs, Order, Truncate};

use super::support::*;

#[tokio::test(start_paused = true)]
async fn fail_fast_drops_the_others_at_once() {
    let live = Live::default();
    let counted = live.clone();
    let service = upstream(move |index| {
        let guard = counted.enter();
        async move {
            match index {
                1 => {
                    pause(100).await;
                    Err("refused".into())
                }
                _ => Ok(holding(page([send("part"), Step::Wait(10_000)]), guard)),
            }
        }
    });
    let gather = Gather::get(uris(3)).fail_fast();
    let mut body = gather.send(&service).await.into_body();
    assert_eq!(next(&mut body).await.as_deref(), Some("part"));
    let rest = next(&mut body).await.unwrap();
    assert_eq!(
        rest,
        "\n[0: given up, since another request failed]\n\n\
         [1: upstream request failed]\n\n\
         part\n[2: given up, since another request failed]",
        "each is reported with what it had said"
    );
    assert_eq!(live.now(), 0, "none is left");
    assert!(ended(&body), "and nothing more comes");
}

#[tokio::test(start_paused = true)]
async fn fail_fast_answers_with_the_failure_s_status() {
    let service = upstream(async |index| {
        pause(100 * index as u64).await;
        if index == 0 {
            let mut page = text("busy");
            *page.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(page);
        }
        Ok(text("fine"))
    });
    let response = Gather::get(uris(3)).fail_fast().send(&service).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_what_is_not_done_is_told_and_dropped() {
    let live = Live::default();
    let counted = live.clone();
    let service = upstream(move |index| {
        let guard = counted.enter();
        async move {
            if index == 2 {
                pause(10_000).await;
            }
            let wait = [0, 10_000, 0][index];
            Ok(holding(page([send("part"), Step::Wait(wait)]), guard))
        }
    });
    let started = Instant::now();
    let gather = Gather::get(uris(3)).deadline(Duration::from_secs(1));
    let text = read(gather.max_concurrent(2).send(&service).await).await;
    assert_eq!(
        text,
        "part\n\npart\n[1: upstream exchange timed out]\n\n[2: upstream exchange timed out]"
    );
    assert_eq!(
        started.elapsed(),
        Duration::from_secs(1),
        "not later, not earlier"
    );
    assert_eq!(live.now(), 0, "none is left");
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_without_a_success_the_status_is_504() {
    let service = upstream(async |_| {
        pause(10_000).await;
        Ok(text("too late"))
    });
    let gather = Gather::get(uris(2)).deadline(Duration::from_secs(1));
    assert_eq!(
        gather.send(&service).await.status(),
        StatusCode::GATEWAY_TIMEOUT
    );
}

#[tokio::test(start_paused = true)]
async fn so_many_legs_at_once_and_in_request_order() {
    for (most, at_once) in [(1, 0), (1, 1), (3, 3), (10, 100)] {
        let (live, begun) = (Live::default(), Arc::new(Mutex::new(Vec::new())));
        let (counted, noted) = (live.clone(), begun.clone());
        let service = upstream(move |index| {
            let guard = counted.enter();
            noted.lock().unwrap().push(index);
            async move {
                pause(100 + index as u64).await;
                Ok(holding(page([Step::Wait(10), send("x")]), guard))
            }
        });
        let gather = Gather::get(uris(10)).format(Format::text().separator(""));
        let response = gather.max_concurrent(at_once).send(&service).await;
        assert_eq!(read(response).await, "x".repeat(10), "all are sent");
        assert_eq!(live.most(), most, "no more than {most} ran at once");
        let begun = begun.lock().unwrap().clone();
        assert_eq!(begun, Vec::from_iter(0..10), "they begin in request order");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_are_not_sent() {
    let service = upstream(async |index| {
        assert!(index < 2, "the third is not sent");
        Ok(text("fine"))
    });
    let response = Gather::get(uris(3)).max_legs(2).send(&service).await;
    assert_eq!(
        read(response).await,
        "fine\n\nfine\n\n[2: not sent: too many requests at once]"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leg_is_read_ahead_no_further_than_its_share() {
    const CHUNK: usize = 1000;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let service = upstream(move |index| {
        let counted = counted.clone();
        async move {
            if index == 0 {
                pause(1000).await;
                return Ok(text("first"));
            }
            Ok(page(std::iter::repeat_with(move || {
                counted.fetch_add(CHUNK, Ordering::SeqCst);
                send([b'x'; CHUNK])
            })))
        }
    });
    let gather = Gather::get(uris(2)).max_output(20 * CHUNK);
    let text = read(gather.send(&service).await).await;
    assert_eq!(
        text.matches('x').count(),
        10 * CHUNK,
        "the share is used to the last byte"
    );
    let sent = sent.load(Ordering::SeqCst);
    assert_eq!(sent, 11 * CHUNK, "one chunk more shows that there is more");
}

#[tokio::test(start_paused = true)]
async fn a_cut_leg_lets_its_body_go_before_its_turn() {
    let live = Live::default();
    let counted = live.clone();
    let service = upstream(move |index| {
        let guard = counted.enter();
        async move {
            if index == 0 {
                pause(1000).await;
            }
            Ok(holding(page([send("abcdef"), Step::Wait(60_000)]), guard))
        }
    });
    let gather = Gather::get(uris(5)).truncate(Truncate::chars(3));
    let mut body = gather.send(&service).await.into_body();
    assert_eq!(
        live.now(),
        1,
        "all but the one that is waited for are free again"
    );
    assert_eq!(
        next(&mut body).await.unwrap(),
        "abc\n\nabc\n\nabc\n\nabc\n\nabc"
    );
    assert_eq!(live.now(), 0, "no body is kept for the sake of its rest");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_or_the_body_drops_every_leg() {
    let live = Live::default();
    let counted = live.clone();
    let service = upstream(move |index| {
        let guard = counted.enter();
        async move {
            pause(100 * index as u64).await;
            Ok(holding(page([send("x"), Step::Wait(1000)]), guard))
        }
    });
    for millis in [0, 50, 150, 250, 900] {
        let run = async {
            let mut body = Gather::get(uris(3)).send(&service).await.into_body();
            while next(&mut body).await.is_some() {}
        };
        let cut_short = tokio::time::timeout(Duration::from_millis(millis), run).await;
        assert!(cut_short.is_err(), "it was not over after {millis} ms");
        assert_eq!(live.now(), 0, "nothing is left of it after {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leg_is_polled_when_it_was_woken_itself() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    let service = upstream(move |index| {
        let counted = counted.clone();
        async move {
            if index == 1 {
                return Ok(page((0..100).flat_map(|_| [send("x"), Step::Wait(1)])));
            }
            std::future::poll_fn::<Answer, _>(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                std::task::Poll::Pending
            })
            .await
        }
    });
    let gather = Gather::get(uris(3)).deadline(Duration::from_secs(1));
    read(gather.send(&service).await).await;
    let polls = polls.load(Ordering::SeqCst);
    assert_eq!(
        polls, 2,
        "two silent legs are polled once each, whatever the third does"
    );
}

#[test]
fn handles_can_go_where_servers_need_them() {
    fn sends<T: Send + Unpin + 'static>() {}
    fn syncs<T: Send + Sync + Unpin + 'static>() {}
    sends::<GatherBody>();
    sends::<Legs<GatherBody>>();
    sends::<Leg<GatherBody>>();
    syncs::<Gather<String>>();
    syncs::<(Format, Order)>();
}
