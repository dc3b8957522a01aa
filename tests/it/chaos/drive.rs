//! Whoever asks, and what must be true while they do and afterwards.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    ops::Range,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use tower::BoxError;
use tower_upstream::{
    Error, Format, Gather, Limits, RemainderPolicy, Timeouts, Truncate, Upstream,
};

use super::{
    plan::{Job, Leave, Place, Plan, job},
    upstreams::{Arrivals, Upstreams},
    verdict::{CUT, Outcome, Tally},
};
use crate::support::{random::Random, sockets};

const CAP: usize = 24;
const CAP_OF_ONE: usize = 8;
const CALLERS: usize = 64;

/// Longer than anything takes on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an upstream that stalls is given.
const STALL: Duration = Duration::from_millis(15);

type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(super) struct Run {
    upstreams: Arc<Upstreams>,
    arrivals: Arrivals,
    posts: Mutex<Vec<usize>>,
}

/// One handle's time, up to its drain.
struct Generation {
    upstream: Upstream,
    upstreams: Arc<Upstreams>,
    draining: AtomicBool,
    /// How many requests have come to an end.
    over: AtomicUsize,
    tally: Mutex<Tally>,
}

impl Run {
    pub(super) async fn start(requests: usize) -> Self {
        let arrivals: Arrivals = Arc::new((0..requests).map(|_| Default::default()).collect());
        Self {
            upstreams: Arc::new(Upstreams::start(&arrivals).await),
            arrivals,
            posts: Mutex::default(),
        }
    }

    /// So many requests on a handle of their own, which is drained while the last are under way.
    pub(super) async fn generation(&self, ids: Range<usize>, random: &mut Random) -> Tally {
        let tasks = Handle::current().metrics().num_alive_tasks();
        let generation = Arc::new(Generation::new(&self.upstreams));
        let jobs = self.jobs(ids.clone(), random);
        let drain_at = ids.len() - random.index(ids.len() / 20);
        let deadline = Duration::from_millis(random.below(100));

        let asking = stream::iter(jobs).for_each_concurrent(CALLERS, |job| {
            let job = tokio::spawn(generation.clone().job(job));
            async move { job.await.unwrap() }
        });
        let draining = generation.drain_once(drain_at, deadline);
        let addresses = self.upstreams.addresses();
        let watching = generation.watch(&addresses);
        let work = future::join(asking, draining);
        tokio::select! {
            _ = work => {}
            never = watching => match never {},
        }
        self.assert_nothing_is_left(&generation, tasks).await;
        self.upstreams.forget_seen();
        std::mem::take(&mut *generation.tally.lock().unwrap())
    }

    fn jobs(&self, ids: Range<usize>, random: &mut Random) -> Vec<Job> {
        let mut posts = self.posts.lock().unwrap();
        let mut jobs = Vec::new();
        let mut next = ids.start;
        while next < ids.end {
            let job = job(random, next, ids.end - next);
            next += match &job {
                Job::One(plan) => {
                    posts.extend(plan.post.then_some(plan.id));
                    1
                }
                Job::Gather(legs, _) => legs.len(),
            };
            jobs.push(job);
        }
        jobs
    }

    async fn assert_nothing_is_left(&self, generation: &Generation, tasks: usize) {
        let stats = generation.upstream.stats();
        assert_eq!((stats.total.open, stats.total.waiting), (0, 0), "{stats}");
        assert!(stats.peak <= CAP, "the cap was held: {stats}");
        let open = sockets::connected_to_any(&self.upstreams.addresses());
        assert_eq!(open, 0, "no socket is open");
        // The upstreams' own ends of them go when their scripts have noticed.
        let deadline = Instant::now() + PATIENCE;
        while Handle::current().metrics().num_alive_tasks() > tasks {
            assert!(Instant::now() < deadline, "a task is left");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A request that may not be repeated came once at most, any other twice.
    pub(super) fn assert_sent_at_most_as_often_as_may_be(&self) {
        let posts = self.posts.lock().unwrap();
        for &id in &*posts {
            let arrived = self.arrivals[id].load(Ordering::Relaxed);
            assert!(arrived <= 1, "POST {id} came {arrived} times");
        }
        let most = self.arrivals.iter().map(|n| n.load(Ordering::Relaxed));
        assert!(most.max() <= Some(2), "a GET is sent twice at most");
    }
}

impl Generation {
    fn new(upstreams: &Arc<Upstreams>) -> Self {
        let limits = Limits::new()
            .max_connections(CAP)
            .max_connections_per_origin(CAP_OF_ONE)
            .max_streams_per_connection(4);
        let upstream = Upstream::builder()
            .limits(limits)
            .timeouts(Timeouts::new(PATIENCE).pool(None))
            .remainder(RemainderPolicy::new().max_time(Duration::from_millis(5)))
            .tls(upstreams.authority.trusting.clone());
        Self {
            upstream: upstream.build().unwrap(),
            upstreams: upstreams.clone(),
            draining: AtomicBool::new(false),
            over: AtomicUsize::new(0),
            tally: Mutex::default(),
        }
    }

    /// Drains the handle once so many requests are over.
    async fn drain_once(&self, over: usize, deadline: Duration) {
        while self.over.load(Ordering::Relaxed) < over {
            sleep(Duration::from_millis(1)).await;
        }
        self.draining.store(true, Ordering::SeqCst);
        let drained = timeout(PATIENCE, self.upstream.drain(deadline)).await;
        let drained = drained.expect("a drain does not hang");
        assert_eq!(drained.upgraded, 0);
        let open = self.upstream.stats().total.open;
        assert_eq!(open, 0, "nothing is open when it returns");
        self.tally.lock().unwrap().drained();
    }

    /// Counts this process's sockets, as the kernel has them, for as long as it is polled.
    async fn watch(&self, addresses: &[SocketAddr]) -> Infallible {
        loop {
            let each = sockets::connected_to_each(addresses);
            let open: usize = each.iter().sum();
            assert!(open <= CAP, "{open} sockets, and {CAP} allowed");
            let most = each.iter().max();
            assert!(most <= Some(&CAP_OF_ONE), "{each:?}, {CAP_OF_ONE} allowed");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn job(self: Arc<Self>, job: Job) {
        let done = timeout(PATIENCE, async {
            match &job {
                Job::One(plan) => self.one(plan).await,
                Job::Gather(legs, leave) => self.gather(legs, *leave).await,
            }
        });
        assert!(done.await.is_ok(), "it hangs: {job:?}");
        let requests = match job {
            Job::One(_) => 1,
            Job::Gather(legs, _) => legs.len(),
        };
        self.over.fetch_add(requests, Ordering::Relaxed);
    }

    async fn one(&self, plan: &Plan) {
        let exchange = self.exchange(plan);
        let outcome = leaving(plan.leave, exchange).await;
        let outcome = outcome.unwrap_or(Outcome::Left);
        plan.judge(&outcome, self.draining.load(Ordering::SeqCst));
        self.tally.lock().unwrap().count(plan, &outcome);
    }

    async fn exchange(&self, plan: &Plan) -> Outcome {
        let method = if plan.post { "POST" } else { "GET" };
        let response = match self.upstream.send(self.request(plan, method)).await {
            Ok(response) => response,
            Err(error) => return failed(error, String::new()),
        };
        let method = method.parse().unwrap();
        let response: Response<Body> = if plan.cut {
            let response = Truncate::chars(CUT as u64).apply_to(&method, response);
            response.map(BodyExt::boxed_unsync)
        } else {
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        };
        if plan.leave == Leave::AtHead {
            return Outcome::Left;
        }
        let status = response.status().as_u16();
        let id = response.headers().get("x-id").cloned();
        let id = id.map_or_else(String::new, |id| id.to_str().unwrap().to_owned());
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(error) => return failed(*error.downcast().unwrap(), text(bytes)),
            }
            if plan.leave == Leave::InBody {
                return Outcome::Left;
            }
        }
        Outcome::Answered {
            status,
            id,
            text: text(bytes),
        }
    }

    async fn gather(&self, legs: &[Plan], leave: Leave) {
        let requests: Vec<_> = legs.iter().map(|leg| self.request(leg, "GET")).collect();
        let gather = Gather::new(requests)
            .truncate(Truncate::chars(CUT as u64))
            .format(Format::ndjson());
        let answer = async {
            let mut body = gather.send(&self.upstream).await.into_body();
            let mut bytes = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
                if matches!(leave, Leave::AtHead | Leave::InBody) {
                    return None;
                }
            }
            Some(text(bytes))
        };
        let answer = leaving(leave, answer).await.flatten();
        let draining = self.draining.load(Ordering::SeqCst);
        let mut tally = self.tally.lock().unwrap();
        tally.judge_gather(legs, answer.as_deref(), draining);
    }

    fn request(&self, plan: &Plan, method: &str) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.upstreams.uri(plan.place, &plan.path()));
        if plan.place == Place::Http2 {
            // In the clear, this is how a handle knows that an upstream speaks HTTP/2.
            request = request.header("content-type", "application/grpc");
        }
        if plan.stalls() {
            let timeouts = Timeouts::new(PATIENCE).pool(None).read(STALL);
            request = request.extension(timeouts);
        }
        let body = vec![b'x'; plan.sends];
        request.body(Full::from(body)).unwrap()
    }
}

fn failed(error: Error, text: String) -> Outcome {
    Outcome::Failed { error, text }
}

/// What there is of whole characters.
fn text(mut bytes: Vec<u8>) -> String {
    if let Err(error) = str::from_utf8(&bytes) {
        let whole = error.valid_up_to();
        bytes.truncate(whole);
    }
    String::from_utf8(bytes).unwrap()
}

/// Drops the future when it is time. `None` then.
async fn leaving<F: Future>(leave: Leave, future: F) -> Option<F::Output> {
    match leave {
        Leave::After(time) => timeout(time, future).await.ok(),
        Leave::AtWait(wait) => {
            let mut future = pin!(future);
            let mut left = wait;
            poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    left -= 1;
                    Poll::Pending
                }
            })
            .await
        }
        Leave::Never | Leave::AtHead | Leave::InBody => Some(future.await),
    }
}
