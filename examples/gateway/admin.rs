//! The page at `--admin`: one file without anything from elsewhere, which asks for `/live` once a
//! second.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, header},
    response::{Html, IntoResponse},
    routing::get,
};
use serde_json::{Map, json};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::{
    metrics::metrics,
    phases::BOUNDS,
    stats::{Pool, as_json, stats},
};

/// Whatever may come to stand in the page, it loads nothing and reaches nobody else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'";

pub(crate) fn app(pool: Pool) -> Router {
    let header =
        |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/live", get(live))
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .with_state(pool)
        .layer((
            header(header::CONTENT_SECURITY_POLICY, POLICY),
            header(header::CACHE_CONTROL, "no-store"),
        ))
}

/// `/stats`, and the phases besides. The buckets count how many were in each, not up to it.
async fn live(State(pool): State<Pool>) -> impl IntoResponse {
    let mut live = as_json(&pool.upstream.stats());
    live["max_connections"] = json!(pool.max_connections);
    live["bounds"] = json!(BOUNDS);
    let phases = pool.phases.iter().flat_map(|phases| phases.all());
    live["phases"] = phases
        .map(|(phase, histogram)| (phase.to_owned(), json!(histogram.buckets())))
        .collect::<Map<_, _>>()
        .into();
    Json(live)
}
