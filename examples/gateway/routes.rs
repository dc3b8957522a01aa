//! The routes, and what stands in front of them.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    handler::Handler,
    http::Uri,
    response::IntoResponse,
    routing::{get, get_service},
};
use tower::ServiceBuilder;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};
use tower_upstream::{
    Format, Forward, Gather, Order, Origin, Truncate, TruncateLayer, Upstream, UpstreamLayer,
};

use crate::{
    args::Options,
    metrics::metrics,
    phases::Phases,
    stats::{Pool, stats},
    timed::timed,
};

/// What `GET /` does.
#[derive(Clone)]
pub(crate) struct Join {
    pub(crate) urls: Vec<Uri>,
    pub(crate) truncate: Option<Truncate>,
    pub(crate) format: Format,
    pub(crate) order: Order,
}

pub(crate) fn app(options: &Options, pool: &Pool) -> Router {
    let outer = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CatchPanicLayer::new());
    // Around each service, and not around the router, which boxes every request and response once
    // more for each layer.
    let limited = outer.clone().layer(layer(options, &pool.upstream));

    let join = gather.with_state((Arc::new(options.gather.clone()), pool.phases.clone()));
    let mut app = Router::new().route("/", get_service(limited.service(join)));
    if let Some(origin) = options.forward_to.clone() {
        let forward = forward(&pool.upstream, origin);
        let truncate = options.gather.truncate.clone();
        let cut = truncate.filter(|_| options.truncate_forward);
        let cut = cut.map(TruncateLayer::new);
        let at = "/proxy";
        app = match (cut, pool.phases.clone()) {
            (None, None) => app.nest_service(at, limited.service(forward)),
            (None, Some(phases)) => app.nest_service(at, limited.service(timed(forward, phases))),
            (Some(cut), None) => app.nest_service(at, limited.layer(cut).service(forward)),
            (Some(cut), Some(phases)) => {
                app.nest_service(at, limited.layer(cut).service(timed(forward, phases)))
            }
        };
    }
    // Without the limits, so that they answer when those refuse.
    let telling = Router::new()
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .with_state(pool.clone());
    app.merge(telling.layer(outer))
}

fn layer(options: &Options, upstream: &Upstream) -> UpstreamLayer {
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
    layer
}

fn forward(upstream: &Upstream, origin: Origin) -> Forward {
    upstream
        .forward_to(origin)
        .client_address(|info: &ConnectInfo<SocketAddr>| info.ip())
        .proxy_status(true)
}

async fn gather(
    State((gather, phases)): State<(Arc<Join>, Option<Arc<Phases>>)>,
    upstream: Upstream,
) -> impl IntoResponse {
    let mut legs = Gather::get(&gather.urls)
        .format(gather.format.clone())
        .order(gather.order);
    if let Some(truncate) = &gather.truncate {
        legs = legs.truncate(truncate.clone());
    }
    match phases {
        Some(phases) => legs.send(&timed(upstream, phases)).await,
        None => legs.send(&upstream).await,
    }
}
