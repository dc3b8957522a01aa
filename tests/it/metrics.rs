//! What the feature `metrics` counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use http::{Request, Uri};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, LocalRecorderGuard,
    Metadata, Recorder, SharedString, Unit, set_default_local_recorder,
};
use tokio::time::{sleep, timeout};
use tower_upstream::{Limits, Timeouts, Upstream};

use crate::support::{Server, dials::Dials, eventually, sized};

/// Keeps every metric, by its name and its labels as Prometheus would write them.
#[derive(Clone, Default)]
struct Metrics {
    values: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
    described: Arc<Mutex<Vec<String>>>,
}

struct One {
    key: String,
    all: Metrics,
}

impl Metrics {
    fn start() -> (&'static Self, LocalRecorderGuard<'static>) {
        let metrics: &'static Self = Box::leak(Box::default());
        (metrics, set_default_local_recorder(metrics))
    }

    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key
            .labels()
            .filter(|label| !["server.address", "server.port", "url.scheme"].contains(&label.key()))
            .filter(|label| !label.value().is_empty())
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let key = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(One {
            key,
            all: self.clone(),
        })
    }

    /// A gauge's or counter's value over all origins.
    fn value(&self, key: &str) -> f64 {
        self.recorded(key).iter().sum()
    }

    /// What a histogram was told.
    fn recorded(&self, key: &str) -> Vec<f64> {
        let values = self.values.lock().unwrap();
        values.get(key).cloned().unwrap_or_default()
    }

    fn gauges_by_key(&self, name: &str) -> Vec<f64> {
        let values = self.values.lock().unwrap();
        let named = values.iter().filter(|(key, _)| key.starts_with(name));
        named.map(|(_, values)| values.iter().sum()).collect()
    }
}

impl One {
    fn add(&self, value: f64) {
        let mut values = self.all.values.lock().unwrap();
        values.entry(self.key.clone()).or_default().push(value);
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("nothing is set");
    }
}

impl GaugeFn for One {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, _: f64) {
        panic!("nothing is set");
    }
}

impl HistogramFn for One {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push(key.as_str().to_owned());
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push(key.as_str().to_owned());
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push(key.as_str().to_owned());
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}

const IDLE: &str = "http.client.open_connections{http.connection.state=idle}";
const ACTIVE: &str = "http.client.open_connections{http.connection.state=active}";
const WAITING: &str = "tower_upstream.waiting_requests{}";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Each answer takes 50 ms.
fn slow() -> Dials {
    Dials::to(|mut peer| async move {
        while peer.request().await?.is_some() {
            sleep(ms(50)).await;
            peer.write(sized("a page")).await?;
        }
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn connections_and_requests_are_counted_by_their_state_while_they_last() {
    let (metrics, _guard) = Metrics::start();
    let limits = Limits::new().max_connections(1).idle_timeout(ms(1000));
    let upstream = slow().builder().limits(limits).build().unwrap();
    let sent = [(); 2].map(|()| {
        let sending = upstream.get("http://in.process/");
        tokio::spawn(async { sending.await.unwrap().into_body().text(10).await })
    });
    sleep(ms(10)).await;
    assert_eq!((metrics.value(ACTIVE), metrics.value(IDLE)), (1.0, 0.0));
    assert_eq!(metrics.value(WAITING), 1.0);
    let active = "http.client.active_requests{http.request.method=GET}";
    assert_eq!(metrics.value(active), 2.0);

    for text in join_all(sent).await {
        assert_eq!(text.unwrap().unwrap(), "a page");
    }
    assert_eq!((metrics.value(ACTIVE), metrics.value(IDLE)), (0.0, 1.0));
    assert_eq!((metrics.value(WAITING), metrics.value(active)), (0.0, 0.0));
    let waited = metrics.recorded("http.client.request.time_in_queue{}");
    assert_eq!(
        waited,
        [0.0, 0.05],
        "the second waited for the first one's connection"
    );
    assert_eq!(
        metrics.recorded("tower_upstream.request.time_to_head{}"),
        [0.05, 0.1]
    );

    sleep(ms(1500)).await;
    assert_eq!((metrics.value(ACTIVE), metrics.value(IDLE)), (0.0, 0.0));
    assert_eq!(
        metrics.value("tower_upstream.closed_connections{cause=expired}"),
        1.0
    );
    let lived = "http.client.connection.duration{network.protocol.version=1.1}";
    assert_eq!(
        metrics.recorded(lived),
        [1.1],
        "two answers and the idle time"
    );
    assert_eq!(metrics.recorded("tower_upstream.connect.duration{}"), [0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_requests_duration_says_how_it_ended() {
    let (metrics, _guard) = Metrics::start();
    let dials = Dials::to(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            sleep(ms(50)).await;
            let status = &request.path()[1..];
            peer.write(format!("HTTP/1.1 {status} x\r\ncontent-length: 1\r\n\r\n"))
                .await?;
            sleep(ms(50)).await;
            peer.write("x").await?;
        }
        Ok(())
    });
    let limits = Limits::new().max_connections(1);
    let upstream = dials
        .builder()
        .limits(limits)
        .timeouts(Timeouts::new(ms(60)));
    let upstream = upstream.build().unwrap();
    let send = |method, status: u16| {
        let request = Request::builder().method(method);
        let request = request.uri(format!("http://in.process/{status}"));
        upstream.send(request.body(String::new()).unwrap())
    };
    for (method, status) in [("GET", 200), ("BREW", 418)] {
        let response = send(method, status).await.unwrap();
        response.into_body().text(10).await.unwrap();
    }
    timeout(ms(20), send("GET", 200)).await.unwrap_err();
    // Held up by the one before.
    let response = send("GET", 200).await.unwrap();
    send("GET", 200).await.unwrap_err();
    drop(response);

    let values = metrics.values.lock().unwrap();
    let durations: Vec<_> = values
        .iter()
        .filter_map(|(key, values)| {
            Some((
                key.strip_prefix("http.client.request.duration")?,
                values.as_slice(),
            ))
        })
        .collect();
    assert_eq!(
        durations,
        [
            (
                "{http.request.method=GET,error.type=cancelled}",
                [0.02].as_slice()
            ),
            ("{http.request.method=GET,error.type=pool_timeout}", &[0.06]),
            (
                "{http.request.method=GET,http.response.status_code=200,network.protocol.version=1.1}",
                &[0.1, 0.11]
            ),
            (
                "{http.request.method=_OTHER,http.response.status_code=418,\
                 network.protocol.version=1.1,error.type=418}",
                &[0.1]
            ),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_requests_the_gauges_come_back_to_zero() {
    let (metrics, _guard) = Metrics::start();
    let limits = Limits::new().max_connections(3).max_idle_connections(2);
    let upstream = slow().builder().limits(limits).build().unwrap();
    let requests = (0..200).map(|i| {
        let upstream = &upstream;
        async move {
            sleep(ms(i * 7 % 400)).await;
            // Some leave in the queue, some before the head, some before the body's end.
            let Ok(response) = timeout(
                ms(i * 13 % 120),
                upstream.get(format!("http://host{}/", i % 5)),
            )
            .await
            else {
                return;
            };
            if i % 3 > 0 {
                let _ = response.unwrap().into_body().text(10).await;
            }
        }
    });
    join_all(requests).await;
    sleep(ms(100)).await;
    let total = upstream.stats().total;
    assert_eq!(metrics.value(IDLE), total.idle as f64);
    assert_eq!(metrics.value(ACTIVE), 0.0);
    upstream.drain(ms(100)).await;
    let names = [
        "http.client.open_connections",
        "http.client.active_requests",
        WAITING,
    ];
    for name in names {
        let values = metrics.gauges_by_key(name);
        assert!(
            !values.is_empty() && values.iter().all(|value| *value == 0.0),
            "{name}: {values:?}"
        );
    }
    let stats = upstream.stats();
    let closed: f64 = metrics
        .gauges_by_key("tower_upstream.closed_connections")
        .iter()
        .sum();
    assert_eq!(
        closed, stats.opened as f64,
        "each that was opened has been closed"
    );
    let lived = metrics.recorded("http.client.connection.duration{network.protocol.version=1.1}");
    assert_eq!(lived.len() as u64, stats.opened);
    let asked = metrics.recorded("http.client.request.time_in_queue{}");
    assert_eq!(asked.len(), 200, "one for each");
}

#[tokio::test]
async fn an_upgraded_connection_is_active_until_it_is_closed() {
    let server = Server::start(|mut peer| async move {
        peer.head().await?;
        peer.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
            .await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let (metrics, _guard) = Metrics::start();
    let upstream = Upstream::builder().build().unwrap();
    let request = Request::get(server.uri("/"))
        .header("connection", "upgrade")
        .header("upgrade", "x");
    let mut response = upstream
        .send(request.body(String::new()).unwrap())
        .await
        .unwrap();
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    eventually("it has left HTTP", || upstream.stats().total.upgraded == 1).await;
    assert_eq!((metrics.value(ACTIVE), metrics.value(IDLE)), (1.0, 0.0));
    drop(upgraded);
    eventually("it is closed", || metrics.value(ACTIVE) == 0.0).await;
    assert_eq!(metrics.value(IDLE), 0.0);
    assert_eq!(
        metrics.value("tower_upstream.closed_connections{cause=upgraded}"),
        1.0
    );
}

#[tokio::test(start_paused = true)]
async fn origins_past_the_first_hundred_share_their_labels() {
    #[derive(Clone, Default)]
    struct Addresses(Arc<Mutex<Vec<String>>>);

    impl Recorder for Addresses {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let labels: BTreeMap<_, _> = key.labels().map(|l| (l.key(), l.value())).collect();
            if key.name() == "http.client.active_requests" {
                let address = format!("{}:{}", labels["server.address"], labels["server.port"]);
                self.0.lock().unwrap().push(address);
            }
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    let addresses = Addresses::default();
    let _guard = set_default_local_recorder(&addresses);
    let upstream = Dials::answering(sized("x")).builder().build().unwrap();
    for _ in 0..2 {
        for host in 0..150 {
            let uri: Uri = format!("http://[::{host}]:81/").parse().unwrap();
            let response = upstream.get(uri).await.unwrap();
            response.into_body().text(10).await.unwrap();
        }
    }
    let addresses = addresses.0.lock().unwrap();
    assert_eq!(addresses.len(), 101, "each set is registered once");
    assert_eq!(addresses[99], "::99:81");
    assert_eq!(addresses[100], "_OTHER:_OTHER");
}

#[tokio::test(start_paused = true)]
async fn every_metric_is_described_and_so_documented() {
    let (metrics, _guard) = Metrics::start();
    let upstream = slow().builder().build().unwrap();
    upstream
        .get("http://in.process/")
        .await
        .unwrap()
        .into_body()
        .text(9)
        .await
        .unwrap();
    let described = metrics.described.lock().unwrap();
    assert_eq!(described.len(), 10);
    let documented = include_str!("../../src/trace/mod.rs");
    for name in &*described {
        assert!(
            documented.contains(&format!("//! | `{name}` |")),
            "{name} is in the docs"
        );
    }
    for key in metrics.values.lock().unwrap().keys() {
        let name = key.split('{').next().unwrap();
        assert!(
            described.iter().any(|known| known == name),
            "{name} is described"
        );
    }
}
