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
//!     cargo run --example gateway -- --admin 127.0.0.1:3001 ...
//!     open http://127.0.0.1:3001/         # a page that shows the pool live
//!
//! `--help` lists the flags. SIGTERM and Ctrl-C drain it: what is under way may finish.

use std::{error::Error, net::SocketAddr, process::ExitCode};

use axum::serve::ListenerExt;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tower_upstream::Upstream;

use self::{
    args::{Options, USAGE},
    stats::Pool,
};

mod admin;
mod args;
mod metrics;
mod phases;
mod routes;
mod stats;
mod timed;

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

async fn serve(mut options: Options) -> Result<(), Box<dyn Error>> {
    let upstream = upstream(&mut options)?;
    let pool = Pool::new(&options, &upstream);
    let app = routes::app(&options, &pool);

    let listener = listen(options.listen).await?;
    let admin = match options.admin {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    println!("listening on http://{}", listener.local_addr()?);
    if let Some(admin) = admin {
        println!("admin on http://{}", admin.local_addr()?);
        // It goes with the process: what it shows last is the drain.
        tokio::spawn(axum::serve(admin, admin::app(pool)).into_future());
    }
    // Without this, the pieces of a streamed body wait for each other's acknowledgement.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));

    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
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

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| format!("cannot listen on {address}: {error}"))
}

fn upstream(options: &mut Options) -> Result<Upstream, tower_upstream::Error> {
    let mut upstream = Upstream::builder()
        .limits(options.limits)
        .timeouts(options.timeouts)
        .root_certificates(std::mem::take(&mut options.authorities));
    if options.http2_prior_knowledge {
        upstream = upstream.http2_prior_knowledge();
    }
    upstream.build()
}
