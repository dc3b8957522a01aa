//! What the feature `tracing` tells, and what it never does.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use tower_upstream::{Limits, Timeouts, Upstream};
use tracing::{
    Event, Id, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{DefaultGuard, set_default},
};

use crate::support::{Server, eventually, sized};

/// Writes down everything of this crate's, a line each. Spans are numbered from 1.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<u64>>,
    /// Whether it wants spans and events, or nothing.
    deaf: bool,
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let guard = set_default(log.clone());
        (log, guard)
    }

    fn write(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The events' messages and what they say, without the durations.
    fn events(&self) -> Vec<String> {
        let lines = self.lines();
        let events = lines.iter().filter_map(|line| line.strip_prefix("event "));
        let timeless = |line: &str| {
            let words = line.split(' ').filter(|word| {
                let (name, _) = word.split_once('=').unwrap_or_default();
                !["connected", "waited", "took", "open_for", "server.port"].contains(&name)
            });
            words.collect::<Vec<_>>().join(" ")
        };
        events.map(timeless).collect()
    }

    fn has(&self, part: &str) -> bool {
        self.lines().iter().any(|line| line.contains(part))
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !self.deaf && metadata.target() == "tower_upstream"
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> Id {
        let mut spans = self.spans.lock().unwrap();
        *spans += 1;
        let metadata = span.metadata();
        assert_eq!(*metadata.level(), Level::INFO);
        let mut line = format!("span {} {}", *spans, metadata.name());
        span.record(&mut Fields(&mut line));
        self.write(line);
        Id::from_u64(*spans)
    }

    fn record(&self, span: &Id, values: &span::Record<'_>) {
        let mut line = format!("record {}", span.into_u64());
        values.record(&mut Fields(&mut line));
        self.write(line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let parent = event.parent().map_or(0, Id::into_u64);
        let mut line = format!("event {parent}");
        event.record(&mut Fields(&mut line));
        self.write(line);
    }

    fn enter(&self, _: &Id) {
        panic!("a span is never entered: each poll would pay for it");
    }

    fn exit(&self, _: &Id) {}

    fn try_close(&self, id: Id) -> bool {
        self.write(format!("close {}", id.into_u64()));
        true
    }
}

fn upstream() -> Upstream {
    Upstream::builder()
        .limits(Limits::new().max_connections(1))
        .timeouts(Timeouts::new(Duration::from_secs(5)))
        .build()
        .unwrap()
}

#[tokio::test]
async fn an_exchange_is_a_span_by_opentelemetrys_names_and_holds_no_secret() {
    let server = Server::answering(|_| async {
        b"HTTP/1.1 404 Not Found\r\nx-secret: secret\r\ncontent-length: 6\r\n\r\nsecret".to_vec()
    })
    .await;
    let (log, _guard) = Log::start();
    let upstream = upstream();
    let request = Request::builder()
        .method("SECRET")
        .uri(server.uri("/secret?token=secret"))
        .header("authorization", "secret");
    let request = request.body("secret".to_owned()).unwrap();
    upstream
        .send(request)
        .await
        .unwrap()
        .into_body()
        .text(10)
        .await
        .unwrap();

    let lines = log.lines();
    let port = server.address.port();
    assert_eq!(
        lines[0],
        format!(
            "span 1 request otel.kind=\"client\" otel.name=\"_OTHER\" \
             http.request.method=\"_OTHER\" server.address=\"127.0.0.1\" server.port={port} \
             url.scheme=\"http\""
        )
    );
    let recorded: Vec<_> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("record 1 "))
        .collect();
    assert_eq!(
        recorded,
        [
            "http.response.status_code=404",
            "network.protocol.version=\"1.1\"",
            "otel.status_code=\"ERROR\"",
            "error.type=\"404\"",
        ]
    );
    assert!(
        lines.contains(&"close 1".to_owned()),
        "it ends with the body: {lines:#?}"
    );
    drop(upstream);
    eventually("the connection is closed", || log.has("connection closed")).await;
    let told = log.lines().join("\n").to_lowercase();
    assert!(!told.contains("secret"), "{told}");
}

#[tokio::test]
async fn each_phase_is_an_event_of_its_exchange_and_the_pools_are_nobodys() {
    let server = Server::saying("a page").await;
    let (log, _guard) = Log::start();
    let upstream = upstream();
    let body = upstream.get(server.uri("/")).await.unwrap().into_body();
    body.text(10).await.unwrap();
    drop(upstream.get(server.uri("/")).await.unwrap());
    upstream.drain(Duration::from_secs(5)).await;

    assert_eq!(
        log.events(),
        [
            "1 message=waiting for a connection",
            "0 message=connecting server.address=\"127.0.0.1\"",
            "0 message=connected server.address=\"127.0.0.1\" network.protocol.version=\"1.1\"",
            "1 message=got a connection reused=false",
            "1 message=response head http.response.status_code=200",
            "1 message=body ended",
            "2 message=got a connection reused=true",
            "2 message=response head http.response.status_code=200",
            "2 message=left before its end",
            "0 message=connection closed server.address=\"127.0.0.1\" cause=\"drained\"",
            "0 message=drained aborted=0 upgraded=0",
        ]
    );
}

#[tokio::test]
async fn failures_are_told_by_their_kind_whichever_way_they_come() {
    let (log, _guard) = Log::start();
    let stuck = Server::start(|mut peer| async move {
        peer.request().await?;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun")
            .await?;
        peer.request().await?;
        Ok(())
    })
    .await;
    let upstream = upstream();
    let times = |times: Timeouts| {
        let request = Request::get(stuck.uri("/")).extension(times);
        request.body(String::new()).unwrap()
    };
    let timeouts = Timeouts::new(Duration::from_millis(50));

    // The connection is busy with the first.
    let held = upstream.send(times(timeouts)).await.unwrap();
    upstream.send(times(timeouts)).await.unwrap_err();
    assert!(
        log.has("event 2 message=failed error.type=\"pool_timeout\""),
        "{:#?}",
        log.lines()
    );
    assert!(log.has("record 2 error.type=\"pool_timeout\""));
    held.into_body().text(10).await.unwrap_err();
    assert!(log.has("event 1 message=failed error.type=\"read_timeout\""));

    let body = upstream.send(times(timeouts.total(Duration::from_millis(30))));
    body.await.unwrap().into_body().text(10).await.unwrap_err();
    assert!(log.has("event 3 message=failed error.type=\"total_timeout\""));

    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    upstream.get(format!("http://{nobody}/")).await.unwrap_err();
    assert!(log.has("event 4 message=failed error.type=\"connect_refused\""));
    let failed =
        "0 message=connect failed server.address=\"127.0.0.1\" error.type=\"connect_refused\"";
    assert!(log.events().contains(&failed.to_owned()));
}

#[tokio::test]
async fn what_the_pool_closes_is_told_with_its_cause() {
    let (one, two) = (Server::saying("1").await, Server::saying("2").await);
    let (log, _guard) = Log::start();
    let upstream = Upstream::builder()
        .limits(
            Limits::new()
                .max_connections(1)
                .idle_timeout(Duration::from_millis(50)),
        )
        .build()
        .unwrap();
    for server in [&one, &two] {
        let response = upstream.get(server.uri("/")).await.unwrap();
        response.into_body().text(10).await.unwrap();
    }
    assert!(
        log.has("cause=\"evicted\""),
        "the second origin had the first one's place"
    );
    eventually("the other expires", || log.has("cause=\"expired\"")).await;
}

#[tokio::test]
async fn a_subscriber_that_wants_none_of_it_is_asked_for_none() {
    let server = Server::answering(|_| async { sized("a page") }).await;
    let log = Log {
        deaf: true,
        ..Log::default()
    };
    let _guard = set_default(log.clone());
    let upstream = upstream();
    upstream
        .get(server.uri("/"))
        .await
        .unwrap()
        .into_body()
        .text(10)
        .await
        .unwrap();
    assert_eq!(log.lines(), [""; 0]);
}
