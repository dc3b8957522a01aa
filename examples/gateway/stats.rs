//! `GET /stats`: what the pool holds and has done, as JSON.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use serde_json::{Value, json};
use tower_upstream::{CloseCause, Gauges, Phase, Stats, Upstream};

use crate::{args::Options, phases::Phases};

/// What there is to show.
#[derive(Clone)]
pub(crate) struct Pool {
    pub(crate) upstream: Upstream,
    pub(crate) max_connections: usize,
    /// Only with `--admin`: whoever asks for timings pays for them.
    pub(crate) phases: Option<Arc<Phases>>,
}

impl Pool {
    pub(crate) fn new(options: &Options, upstream: &Upstream) -> Self {
        Self {
            upstream: upstream.clone(),
            max_connections: options.max_connections,
            phases: options.admin.map(|_| Arc::default()),
        }
    }
}

pub(crate) async fn stats(State(pool): State<Pool>) -> impl IntoResponse {
    Json(as_json(&pool.upstream.stats()))
}

pub(crate) fn as_json(stats: &Stats) -> Value {
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
    let mut all = gauges(&stats.total);
    let origins = stats
        .origins
        .iter()
        .map(|(origin, g)| (origin.to_string(), gauges(g)));
    all["origins"] = Value::Object(origins.collect());
    let closed = CloseCause::ALL
        .iter()
        .map(|&cause| (cause.as_str().to_owned(), json!(stats.closed(cause))));
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
    all
}
