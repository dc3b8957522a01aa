//! `GET /metrics`: the same in Prometheus' text format.

use std::fmt::Write as _;

use axum::{extract::State, http::header::CONTENT_TYPE, response::IntoResponse};
use tower_upstream::{CloseCause, Phase, Stats};

use crate::{
    phases::{BOUNDS, Phases},
    stats::Pool,
};

pub(crate) async fn metrics(State(pool): State<Pool>) -> impl IntoResponse {
    let mut text = prometheus(&pool.upstream.stats());
    let _ = writeln!(text, "# TYPE upstream_max_connections gauge");
    let _ = writeln!(text, "upstream_max_connections {}", pool.max_connections);
    if let Some(phases) = &pool.phases {
        histograms(&mut text, phases);
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn histograms(text: &mut String, phases: &Phases) {
    let _ = writeln!(text, "# TYPE upstream_phase_seconds histogram");
    for (phase, histogram) in phases.all() {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, n) in bounds.zip(histogram.buckets()) {
            count += n;
            let labels = format!("{{phase=\"{phase}\",le=\"{bound}\"}}");
            let _ = writeln!(text, "upstream_phase_seconds_bucket{labels} {count}");
        }
        let labels = format!("{{phase=\"{phase}\"}}");
        let sum = histogram.sum();
        let _ = writeln!(text, "upstream_phase_seconds_sum{labels} {sum}");
        let _ = writeln!(text, "upstream_phase_seconds_count{labels} {count}");
    }
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
    let closed = CloseCause::ALL.iter().map(|&cause| {
        let labels = format!("{{cause=\"{}\"}}", cause.as_str());
        (labels, stats.closed(cause))
    });
    metric("closed_total", "counter", &closed.collect::<Vec<_>>());
    let phases = [Phase::Pool, Phase::Connect, Phase::Write, Phase::Read];
    let mut timed_out: Vec<_> = phases
        .map(|phase| (format!("{{phase=\"{phase}\"}}"), stats.timed_out(phase)))
        .into();
    timed_out.push(("{phase=\"total\"}".to_owned(), stats.timed_out_total));
    metric("timed_out_total", "counter", &timed_out);
    text
}
