//! A deploy under load: the server stops taking requests, those under way finish, and what has not
//! finished by the deadline is cut short, in both directions and within the same time.
//!
//!     cargo run --example graceful_shutdown            # stops by Ctrl-C or SIGTERM
//!     cargo run --example graceful_shutdown -- --once  # stops by itself, under load
//!
//! Ten clients of its own ask it for reports: eight of a second's work, two that never end. It prints
//! what became of each.

use std::{convert::Infallible, error::Error, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use futures_util::{StreamExt, future::join_all, stream};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};
use tower_upstream::{Upstream, UpstreamLayer};

/// How long what is under way may take to finish. An orchestrator kills later than that:
/// Kubernetes, by default, after 30 s.
const DEADLINE: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let once = std::env::args().skip(1).any(|flag| flag == "--once");
    let reports = reports().await?;

    let upstream = Upstream::builder().build()?;
    let app = Router::new()
        .route("/{report}", get(report))
        .with_state(reports)
        .layer(UpstreamLayer::new(upstream.clone()).max_in_flight(100));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Without this, the pieces of a streamed body wait for each other's acknowledgement.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());

    let clients = tokio::spawn(load(address));
    while upstream.stats().total.in_use < CLIENTS {
        sleep(Duration::from_millis(5)).await;
    }
    println!("{CLIENTS} requests are under way at http://{address}/");
    if !once {
        println!("stop it by Ctrl-C or SIGTERM");
        told_to_stop().await?;
    }

    // No new connection is taken, and each that is open ends with its answer.
    let start = Instant::now();
    drop(stop);
    let _ = timeout(DEADLINE, server).await;
    // What the server could not wait for is ended here, by what is left of the same deadline.
    let left = DEADLINE.saturating_sub(start.elapsed());
    let drained = upstream.drain(left).await;
    println!(
        "drained in {:.1?}, {} cut short",
        start.elapsed(),
        drained.aborted
    );

    let ends = clients.await?;
    let whole = ends.iter().filter(|end| end.is_ok()).count();
    println!(
        "clients: {whole} have their report, {} know that it broke off",
        ends.len() - whole
    );
    println!("[pool] {}", upstream.stats());
    Ok(())
}

async fn told_to_stop() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Passes on what the reports' own server says, as it comes.
async fn report(
    Path(report): Path<String>,
    State(reports): State<SocketAddr>,
    upstream: Upstream,
) -> Result<Response, tower_upstream::Error> {
    let response = upstream.get(format!("http://{reports}/{report}")).await?;
    Ok(response.map(Body::new).into_response())
}

const CLIENTS: usize = 10;

/// What a client has at the end: the whole report, or an error.
async fn load(address: SocketAddr) -> Vec<Result<String, tower_upstream::Error>> {
    let client = Upstream::builder().build();
    join_all((0..CLIENTS).map(|n| {
        let client = client.clone();
        let report = if n < 8 { "short" } else { "endless" };
        async move {
            let response = client?.get(format!("http://{address}/{report}")).await?;
            response.into_body().text(1 << 20).await
        }
    }))
    .await
}

/// The upstream: a report of ten lines, one each tenth of a second, or of lines without end.
async fn reports() -> std::io::Result<SocketAddr> {
    let lines = async |Path(report): Path<String>| {
        let lines = if report == "short" { 10 } else { usize::MAX };
        let lines = stream::iter(0..lines).then(async |n| {
            sleep(Duration::from_millis(100)).await;
            Ok::<_, Infallible>(format!("line {n}\n"))
        });
        Body::from_stream(lines)
    };
    let app = Router::new().route("/{report}", get(lines));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}
