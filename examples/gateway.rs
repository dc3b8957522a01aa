//! The crate behind flags: for load and fault tests, and as a starting point.
//!
//!     cargo run --example gateway -- --listen 127.0.0.1:3000 \
//!         --gather http://127.0.0.1:8000/a --gather http://127.0.0.1:8000/b --truncate-chars 50
//!     curl http://127.0.0.1:3000/         # both pages, cut, as one response
//!     curl http://127.0.0.1:3000/stats    # what the pool holds and has done, as JSON
//!     curl http://127.0.0.1:3000/metrics  # the same for Prometheus
//!
//!     cargo run --example gateway -- --forward-to http://127.0.0.1:8000
//!     curl http://127.0.0.1:3000/proxy/a  # /a at that origin
//!
//! `--help` lists the flags. SIGTERM and Ctrl-C drain it: what is under way may finish.

use std::{
    error::Error,
    fmt::{Display, Write as _},
    net::SocketAddr,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::get,
    serve::ListenerExt,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tower::ServiceBuilder;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};
use tower_upstream::{
    CloseCause, Format, Forward, Gather, Gauges, Limits, Order, Origin, Phase, Stats, Timeouts,
    Truncate, TruncateLayer, Upstream, UpstreamLayer,
};

const USAGE: &str = "\
gateway --listen ADDR [--gather URL]... [--forward-to ORIGIN]
        --max-connections N --max-connections-per-origin N --max-idle N --idle-timeout D
        --max-age D --max-pending N
        --connect-timeout D --read-timeout D --write-timeout D --pool-timeout D
        --total-timeout D --drain-timeout D
        --max-in-flight N --max-admission-pending N --wait D
        --truncate-chars N | --truncate-bytes N  --truncate-forward
        --format text|ndjson|json --order request|completion
        --http2-prior-knowledge --ca-file PEM --threads N

Durations as 500ms or 15s.
GET / gathers every --gather URL, each cut; ANY /proxy/* goes to --forward-to, cut only by
--truncate-forward; GET /stats and GET /metrics tell of the pool.";

fn main() -> ExitCode {
    let run = || -> Result<(), Box<dyn Error>> {
        let Some(options) = Options::parse(std::env::args().skip(1))? else {
            println!("{USAGE}");
            return Ok(());
        };
        let mut runtime = match options.threads {
            Some(1) => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        if let Some(threads) = options.threads {
            runtime.worker_threads(threads);
        }
        runtime.enable_all().build()?.block_on(serve(options))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let mut upstream = Upstream::builder()
        .limits(options.limits)
        .timeouts(options.timeouts)
        .root_certificates(options.authorities);
    if options.http2_prior_knowledge {
        upstream = upstream.http2_prior_knowledge();
    }
    let upstream = upstream.build()?;
    let mut layer = UpstreamLayer::new(upstream.clone());
    if let Some(n) = options.max_in_flight {
        layer = layer.max_in_flight(n);
    }
    if let Some(n) = options.max_admission_pending {
        layer = layer.max_pending(n);
    }
    if let Some(limit) = options.wait {
        layer = layer.wait(limit);
    }
    let truncate = options.gather.truncate.clone();
    let mut app = Router::new()
        .route("/", get(gather))
        .with_state(options.gather);
    if let Some(origin) = options.forward_to {
        let forward = forward(&upstream, origin);
        app = match truncate.filter(|_| options.truncate_forward) {
            Some(truncate) => {
                let cut = ServiceBuilder::new().layer(TruncateLayer::new(truncate));
                app.nest_service("/proxy", cut.service(forward))
            }
            None => app.nest_service("/proxy", forward),
        };
    }
    let app = app
        .layer(layer)
        // Beside the layer, so that they answer when it refuses.
        .route("/stats", get(stats).with_state(upstream.clone()))
        .route("/metrics", get(metrics).with_state(upstream.clone()))
        .layer((TraceLayer::new_for_http(), CatchPanicLayer::new()))
        .into_make_service_with_connect_info::<SocketAddr>();

    let listen = options.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    // Without this, the pieces of a streamed body wait for each other's acknowledgement.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));

    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let until = Instant::now() + options.drain_timeout;
    drop(stop);
    let _ = tokio::time::timeout(options.drain_timeout, server).await;
    let drained = upstream
        .drain(until.saturating_duration_since(Instant::now()))
        .await;
    eprintln!("drained, {} cut short", drained.aborted);
    Ok(())
}

fn forward(upstream: &Upstream, origin: Origin) -> Forward {
    upstream
        .forward_to(origin)
        .client_address(|info: &ConnectInfo<SocketAddr>| info.ip())
        .proxy_status(true)
}

async fn gather(State(gather): State<Join>, upstream: Upstream) -> impl IntoResponse {
    let mut legs = Gather::get(&gather.urls)
        .format(gather.format)
        .order(gather.order);
    if let Some(truncate) = gather.truncate {
        legs = legs.truncate(truncate);
    }
    legs.send(&upstream).await
}

async fn stats(State(upstream): State<Upstream>) -> impl IntoResponse {
    let gauges = |gauges: &Gauges| {
        json!({
            "open": gauges.open,
            "connecting": gauges.connecting,
            "idle": gauges.idle,
            "in_use": gauges.in_use,
            "closing": gauges.closing,
            "upgraded": gauges.upgraded,
            "waiting": gauges.waiting,
        })
    };
    let stats = upstream.stats();
    let mut all = gauges(&stats.total);
    let origins = stats
        .origins
        .iter()
        .map(|(origin, g)| (origin.to_string(), gauges(g)));
    all["origins"] = serde_json::Value::Object(origins.collect());
    let closed =
        CloseCause::ALL.map(|cause| (cause.as_str().to_owned(), json!(stats.closed(cause))));
    let phases = [Phase::Pool, Phase::Connect, Phase::Write, Phase::Read];
    let timed_out = phases.map(|phase| (phase.to_string(), json!(stats.timed_out(phase))));
    all["counters"] = json!({
        "opened": stats.opened,
        "connect_failed": stats.connect_failed,
        "peak": stats.peak,
        "reused": stats.reused,
        "waited": stats.waited,
        "cut_and_reused": stats.cut_and_reused,
        "cut_and_closed": stats.cut_and_closed,
        "timed_out_total": stats.timed_out_total,
        "closed": serde_json::Map::from_iter(closed),
        "timed_out": serde_json::Map::from_iter(timed_out),
    });
    Json(all)
}

/// Prometheus' text format.
async fn metrics(State(upstream): State<Upstream>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        prometheus(&upstream.stats()),
    )
}

fn prometheus(stats: &Stats) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, samples: &[(String, u64)]| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# TYPE upstream_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "upstream_{name}{labels} {value}");
        }
    };
    let (mut connections, mut waiting) = (Vec::new(), Vec::new());
    for (origin, gauges) in &stats.origins {
        for (state, n) in [
            ("connecting", gauges.connecting),
            ("idle", gauges.idle),
            ("in_use", gauges.in_use),
            ("closing", gauges.closing),
            ("upgraded", gauges.upgraded),
        ] {
            let labels = format!("{{origin=\"{origin}\",state=\"{state}\"}}");
            connections.push((labels, n as u64));
        }
        waiting.push((format!("{{origin=\"{origin}\"}}"), gauges.waiting as u64));
    }
    metric("connections", "gauge", &connections);
    metric("waiting_requests", "gauge", &waiting);
    for (name, kind, value) in [
        ("peak_connections", "gauge", stats.peak as u64),
        ("opened_total", "counter", stats.opened),
        ("connect_failed_total", "counter", stats.connect_failed),
        ("reused_total", "counter", stats.reused),
        ("waited_total", "counter", stats.waited),
        ("cut_and_reused_total", "counter", stats.cut_and_reused),
        ("cut_and_closed_total", "counter", stats.cut_and_closed),
    ] {
        metric(name, kind, &[(String::new(), value)]);
    }
    let closed = CloseCause::ALL.map(|cause| {
        (
            format!("{{cause=\"{}\"}}", cause.as_str()),
            stats.closed(cause),
        )
    });
    metric("closed_total", "counter", &closed);
    let phases = [Phase::Pool, Phase::Connect, Phase::Write, Phase::Read];
    let mut timed_out: Vec<_> = phases
        .map(|phase| (format!("{{phase=\"{phase}\"}}"), stats.timed_out(phase)))
        .into();
    timed_out.push(("{phase=\"total\"}".to_owned(), stats.timed_out_total));
    metric("timed_out_total", "counter", &timed_out);
    text
}

/// What `GET /` does.
#[derive(Clone)]
struct Join {
    urls: Vec<String>,
    truncate: Option<Truncate>,
    format: Format,
    order: Order,
}

struct Options {
    listen: SocketAddr,
    gather: Join,
    forward_to: Option<Origin>,
    truncate_forward: bool,
    http2_prior_knowledge: bool,
    limits: Limits,
    timeouts: Timeouts,
    drain_timeout: Duration,
    max_in_flight: Option<usize>,
    max_admission_pending: Option<usize>,
    wait: Option<Duration>,
    authorities: Vec<CertificateDer<'static>>,
    threads: Option<usize>,
}

impl Options {
    /// `None` when help is asked for.
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, Box<dyn Error>> {
        let mut options = Self {
            listen: ([127, 0, 0, 1], 3000).into(),
            gather: Join {
                urls: Vec::new(),
                truncate: None,
                format: Format::text(),
                order: Order::Request,
            },
            forward_to: None,
            truncate_forward: false,
            http2_prior_knowledge: false,
            limits: Limits::new(),
            timeouts: Timeouts::default(),
            drain_timeout: Duration::from_secs(10),
            max_in_flight: None,
            max_admission_pending: None,
            wait: None,
            authorities: Vec::new(),
            threads: None,
        };
        let mut arguments = Arguments(arguments);
        while let Some(flag) = arguments.0.next() {
            if flag == "--help" || flag == "-h" {
                return Ok(None);
            }
            options.set(&flag, &mut arguments)?;
        }
        Ok(Some(options))
    }

    fn set<I>(&mut self, flag: &str, from: &mut Arguments<I>) -> Result<(), Box<dyn Error>>
    where
        I: Iterator<Item = String>,
    {
        let (limits, timeouts) = (self.limits, self.timeouts);
        match flag {
            "--listen" => self.listen = from.value(flag)?,
            "--gather" => self.gather.urls.push(from.value(flag)?),
            "--forward-to" => self.forward_to = Some(from.value(flag)?),
            "--truncate-forward" => self.truncate_forward = true,
            "--http2-prior-knowledge" => self.http2_prior_knowledge = true,
            "--max-connections" => self.limits = limits.max_connections(from.value(flag)?),
            "--max-connections-per-origin" => {
                self.limits = limits.max_connections_per_origin(from.value::<usize>(flag)?);
            }
            "--max-idle" => self.limits = limits.max_idle_connections(from.value(flag)?),
            "--idle-timeout" => self.limits = limits.idle_timeout(from.duration(flag)?),
            "--max-age" => self.limits = limits.max_connection_age(from.duration(flag)?),
            "--max-pending" => self.limits = limits.max_pending(from.value(flag)?),
            "--connect-timeout" => self.timeouts = timeouts.connect(from.duration(flag)?),
            "--read-timeout" => self.timeouts = timeouts.read(from.duration(flag)?),
            "--write-timeout" => self.timeouts = timeouts.write(from.duration(flag)?),
            "--pool-timeout" => self.timeouts = timeouts.pool(from.duration(flag)?),
            "--total-timeout" => self.timeouts = timeouts.total(from.duration(flag)?),
            "--drain-timeout" => self.drain_timeout = from.duration(flag)?,
            "--max-in-flight" => self.max_in_flight = Some(from.at_least_one(flag)?),
            "--max-admission-pending" => self.max_admission_pending = Some(from.value(flag)?),
            "--wait" => self.wait = Some(from.duration(flag)?),
            "--truncate-chars" => self.gather.truncate = Some(Truncate::chars(from.value(flag)?)),
            "--truncate-bytes" => self.gather.truncate = Some(Truncate::bytes(from.value(flag)?)),
            "--format" => {
                self.gather.format = match from.value::<String>(flag)?.as_str() {
                    "text" => Format::text(),
                    "ndjson" => Format::ndjson(),
                    "json" => Format::json(),
                    other => return Err(format!("--format {other}: text, ndjson or json").into()),
                }
            }
            "--order" => {
                self.gather.order = match from.value::<String>(flag)?.as_str() {
                    "request" => Order::Request,
                    "completion" => Order::Completion,
                    other => return Err(format!("--order {other}: request or completion").into()),
                }
            }
            "--ca-file" => {
                let file: String = from.value(flag)?;
                let read = |error| format!("--ca-file {file}: {error}");
                self.authorities = CertificateDer::pem_file_iter(&file)
                    .map_err(read)?
                    .collect::<Result<_, _>>()
                    .map_err(read)?;
            }
            "--threads" => self.threads = Some(from.at_least_one(flag)?),
            _ => return Err(format!("unknown flag {flag}; --help lists them").into()),
        }
        Ok(())
    }
}

struct Arguments<I>(I);

impl<I: Iterator<Item = String>> Arguments<I> {
    fn value<T: FromStr<Err: Display>>(&mut self, flag: &str) -> Result<T, Box<dyn Error>> {
        let value = self
            .0
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        Ok(value
            .parse()
            .map_err(|error| format!("{flag} {value}: {error}"))?)
    }

    fn at_least_one(&mut self, flag: &str) -> Result<usize, Box<dyn Error>> {
        match self.value(flag)? {
            0 => Err(format!("{flag} 0: it must be at least 1").into()),
            n => Ok(n),
        }
    }

    /// `500ms` or `15s`.
    fn duration(&mut self, flag: &str) -> Result<Duration, Box<dyn Error>> {
        let value: String = self.value(flag)?;
        let parsed = match value.strip_suffix("ms") {
            Some(millis) => millis.parse().ok().map(Duration::from_millis),
            None => value
                .strip_suffix('s')
                .and_then(|s| s.parse().ok().map(Duration::from_secs)),
        };
        Ok(parsed.ok_or_else(|| format!("{flag} {value}: a duration looks like 500ms or 15s"))?)
    }
}
