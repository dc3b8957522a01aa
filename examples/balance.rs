//! Three replicas of one service, balanced by tower, with retries within tower's budget.
//!
//!     cargo run --example balance
//!
//! One replica has just started and refuses its first five requests; one is slow to send its body.
//! Sixty requests are answered all the same, and the example prints by whom. It ends by itself.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tower::{
    BoxError, ServiceBuilder, ServiceExt,
    balance::p2c::Balance,
    discover::ServiceList,
    load::PendingRequests,
    retry::{
        Policy,
        budget::{Budget, TpsBudget},
    },
};
use tower_upstream::{CompleteOnBodyEnd, Error, Limits, Origin, Upstream};

const REQUESTS: usize = 60;

const AT_ONCE: usize = 6;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let replicas = [
        replica("ready", 0, Duration::ZERO).await?,
        replica("starting", 5, Duration::ZERO).await?,
        replica("slow", 0, Duration::from_millis(100)).await?,
    ];

    // One pool for all three: its limits hold over them together.
    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(10))
        .build()?;
    // With `CompleteOnBodyEnd`, a replica that is still sending counts as busy.
    let endpoints = replicas
        .map(|origin| PendingRequests::new(upstream.at(origin), CompleteOnBodyEnd::default()));
    let retries = Arc::new(AtomicUsize::new(0));
    let client = ServiceBuilder::new()
        .retry(Again {
            // One retry for every five requests, and a hundred more in ten seconds.
            budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.2)),
            tries_left: 5,
            retries: retries.clone(),
        })
        // The balancer is one value; a buffer in front of it is shared.
        .buffer(REQUESTS)
        .service(Balance::new(ServiceList::new::<Request<String>>(endpoints)));

    let call = async |_| {
        let request = Request::get("/").body(String::new())?;
        let response = client.clone().oneshot(request).await?;
        let status = response.status();
        let by = response.into_body().collect().await?.to_bytes();
        Ok::<_, BoxError>((status, by))
    };
    let answers: Vec<_> = stream::iter(0..REQUESTS)
        .map(call)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;

    for name in ["ready", "starting", "slow"] {
        let of = |(status, by): &&(StatusCode, Bytes)| status.is_success() && by == name;
        println!("{name}: {} requests", answers.iter().filter(of).count());
    }
    println!("retries: {}", retries.load(Ordering::Relaxed));
    println!("[pool] {}", upstream.stats());
    Ok(())
}

/// Tries again what was never sent, whatever its method, and what a replica refused if that may be
/// sent twice.
#[derive(Clone)]
struct Again {
    budget: Arc<TpsBudget>,
    tries_left: usize,
    retries: Arc<AtomicUsize>,
}

impl<B> Policy<Request<String>, Response<B>, BoxError> for Again {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        request: &mut Request<String>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Ready<()>> {
        let worth_it = match result {
            Ok(response) => {
                response.status() == StatusCode::SERVICE_UNAVAILABLE
                    && request.method().is_idempotent()
            }
            // The buffer has boxed it.
            Err(error) => Error::find(&**error).is_some_and(|error| !error.was_sent()),
        };
        if !worth_it {
            self.budget.deposit();
            return None;
        }
        self.tries_left = self.tries_left.checked_sub(1)?;
        if !self.budget.withdraw() {
            return None;
        }
        self.retries.fetch_add(1, Ordering::Relaxed);
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<String>) -> Option<Request<String>> {
        // `Request` clones its extensions too, a `Timeouts` among them.
        Some(request.clone())
    }
}

/// A replica that refuses its first requests, and whose body takes its time.
async fn replica(name: &'static str, refusals: usize, pause: Duration) -> Result<Origin, BoxError> {
    let refused = Arc::new(AtomicUsize::new(0));
    let app = Router::new().route(
        "/",
        get(async move || {
            if refused.fetch_add(1, Ordering::Relaxed) < refusals {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            let body = stream::once(async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(name)
            });
            Ok(Body::from_stream(body))
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?).parse()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(origin)
}
