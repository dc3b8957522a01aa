//! Guarantee 8: no leg keeps a connection while it waits for another leg.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};
use tower::{BoxError, Service, service_fn};
use tower_upstream::{Gather, Truncate};

use super::support::*;

const PARENTS: usize = 100;
const WIDTH: usize = 10;

/// One upstream behind a pool: no more than its cap at once, first come, first served, and held
/// until the body ends or is dropped.
#[derive(Clone)]
struct Pool {
    slots: Arc<Semaphore>,
    live: Live,
}

/// What stands in the way of a leg, other than the pool.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Refused,
    Broken,
    Stalled,
    Endless,
}

impl Pool {
    fn new(cap: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(cap)),
            live: Live::default(),
        }
    }

    /// Answers with what `page` makes, once a slot is free.
    async fn hold(self, page: impl Future<Output = Answer>) -> Answer {
        let slot = self.slots.acquire_owned().await?;
        let guard = self.live.enter();
        Ok(holding(page.await?, (slot, guard)))
    }
}

/// A body much larger than a cut, in pieces, that names its leg.
fn long(name: &str) -> Page {
    let line = format!("{name}.").repeat(10);
    page((0..10).flat_map(move |_| [send(&line), Step::Wait(1)]))
}

fn expect_long(name: &str) -> String {
    format!("{name}.").repeat(100)
}

/// A service that sends each leg through its origin's pool: `http://a/...` or `http://b/...`.
fn pooled(
    a: Pool,
    b: Pool,
) -> impl Service<Request<Empty<Bytes>>, Response = Page, Error = BoxError, Future: Send>
+ Clone
+ Send
+ 'static {
    service_fn(move |request: Request<Empty<Bytes>>| {
        let uri = request.into_parts().0.uri;
        let pool = if uri.host() == Some("a") { &a } else { &b };
        let pool = pool.clone();
        async move {
            let answer = async {
                pause(5).await;
                Ok(long(&uri.to_string()))
            };
            pool.hold(answer).await
        }
    })
}

/// The legs of one parent; parents take the two origins in opposite orders.
fn legs(parent: usize) -> Vec<String> {
    let host = |leg: usize| {
        if (parent + leg).is_multiple_of(2) {
            "a"
        } else {
            "b"
        }
    };
    (0..WIDTH)
        .map(|leg| format!("http://{}/{parent}/{leg}", host(leg)))
        .collect()
}

/// Runs all at once. Virtual time passes only when all of them wait, so a stall is seen at once.
async fn all<F>(parents: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let all = JoinSet::from_iter(parents).join_all();
    timeout(Duration::from_secs(3600), all)
        .await
        .expect("nothing stalls")
}

#[tokio::test(start_paused = true)]
async fn parents_wider_than_the_caps_of_two_origins_never_wait_for_each_other() {
    for cap in [1, 2, 5] {
        for limit in [Some(Truncate::chars(20)), None] {
            let (a, b) = (Pool::new(cap), Pool::new(cap));
            let service = pooled(a.clone(), b.clone());
            all((0..PARENTS).map(|parent| {
                let (service, limit) = (service.clone(), limit.clone());
                async move {
                    let gather = Gather::get(legs(parent));
                    let gather = match limit.clone() {
                        Some(limit) => gather.truncate(limit),
                        None => gather,
                    };
                    let text = read(gather.send(&service).await).await;
                    let expected = legs(parent).into_iter().map(|name| {
                        let mut text = expect_long(&name);
                        text.truncate(if limit.is_some() { 20 } else { text.len() });
                        text
                    });
                    let expected = Vec::from_iter(expected).join("\n\n");
                    assert_eq!(text, expected, "every leg has its own text, in its place");
                }
            }))
            .await;
            let most = (a.live.most(), b.live.most());
            assert_eq!(most, (cap, cap), "the caps held, and were used");
            assert_eq!(a.live.now() + b.live.now(), 0, "all is given back");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn legs_that_gather_themselves_over_another_pool_do_not_stall() {
    for cap in [1, 2, 5] {
        let (outer, inner) = (Pool::new(cap), Pool::new(cap));
        let leaves = pooled(inner.clone(), inner.clone());
        let pool = outer.clone();
        let nested = service_fn(move |request: Request<Empty<Bytes>>| {
            let (leaves, pool) = (leaves.clone(), pool.clone());
            let uri = request.into_parts().0.uri;
            async move {
                let gathered = async {
                    let legs = (0..3).map(|leaf| format!("http://a{}/{leaf}", uri.path()));
                    let response = Gather::get(legs).send(&leaves).await;
                    let body = response.into_body().map_err(BoxError::from);
                    Ok(Response::new(body.boxed_unsync()))
                };
                pool.hold(gathered).await
            }
        });
        all((0..20).map(|parent| {
            let nested = nested.clone();
            async move {
                let text = read(Gather::get(legs(parent)).send(&nested).await).await;
                let names = (0..WIDTH).flat_map(|leg| {
                    (0..3).map(move |leaf| expect_long(&format!("http://a/{parent}/{leg}/{leaf}")))
                });
                assert_eq!(text, Vec::from_iter(names).join("\n\n"));
            }
        }))
        .await;
        let most = (outer.live.most(), inner.live.most());
        assert!(most.0 <= cap && most.1 <= cap, "the caps held: {most:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_room_for_all_no_leg_waits_for_any_other() {
    let service = pooled(Pool::new(PARENTS * WIDTH), Pool::new(PARENTS * WIDTH));
    let started = Instant::now();
    all((0..PARENTS).map(|parent| {
        let service = service.clone();
        async move { read(Gather::get(legs(parent)).send(&service).await).await }
    }))
    .await;
    let took = started.elapsed().as_millis();
    assert_eq!(
        took, 15,
        "5 ms to the head and 10 for the body, for a thousand at once"
    );
}

/// Which fault a leg has: every parent has one of each, in places of its own.
fn fault(parent: usize, leg: usize) -> Fault {
    match (parent * 7 + leg * 3) % WIDTH {
        0 => Fault::Refused,
        1 => Fault::Broken,
        2 => Fault::Stalled,
        3 => Fault::Endless,
        _ => Fault::None,
    }
}

fn expect_faulty(parent: usize, leg: usize) -> String {
    let name = format!("{parent}/{leg}");
    match fault(parent, leg) {
        Fault::None => expect_long(&name),
        Fault::Refused => format!("[{leg}: upstream request failed]"),
        Fault::Broken | Fault::Stalled => format!("{name}\n[{leg}: upstream response broke off]"),
        Fault::Endless => format!(
            "{}\n[{leg}: cut at the output limit]",
            "0123456789".repeat(500)
        ),
    }
}

#[tokio::test(start_paused = true)]
async fn faults_and_clients_that_leave_touch_no_one_else() {
    let pool = Pool::new(3);
    let capped = pool.clone();
    let service = service_fn(move |request: Request<Empty<Bytes>>| {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let (parent, leg) = path.split_once('/').unwrap();
        let fault = fault(parent.parse().unwrap(), leg.parse().unwrap());
        capped.clone().hold(async move {
            pause(5).await;
            match fault {
                Fault::None => Ok(long(&path)),
                Fault::Refused => Err("refused".into()),
                Fault::Broken => Ok(page([send(&path), Step::Break])),
                // As the pool's read timeout ends it.
                Fault::Stalled => Ok(page([send(&path), Step::Wait(1000), Step::Break])),
                Fault::Endless => Ok(page(std::iter::repeat_with(|| send("0123456789")))),
            }
        })
    });
    all((0..PARENTS).map(|parent| {
        let service = service.clone();
        async move {
            let uris = (0..WIDTH).map(|leg| format!("http://upstream/{parent}/{leg}"));
            let gather = Gather::get(uris).max_output(5_000 * WIDTH);
            let whole = async { read(gather.send(&service).await).await };
            if parent % 3 == 0 {
                let patience = Duration::from_millis(parent as u64 * 37 % 3000);
                let _ = timeout(patience, whole).await;
                return;
            }
            let expected = (0..WIDTH).map(|leg| expect_faulty(parent, leg));
            assert_eq!(whole.await, Vec::from_iter(expected).join("\n\n"));
        }
    }))
    .await;
    assert!(pool.live.most() <= 3, "the cap held");
    assert_eq!(pool.live.now(), 0, "all is given back");
    assert_eq!(pool.slots.available_permits(), 3);
}
