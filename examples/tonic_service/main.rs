//! A tonic service in front of two upstreams, one of gRPC and one of HTTP, over one pool.
//!
//!     cargo run --example tonic_service            # upstreams and a client of its own, then serves
//!     cargo run --example tonic_service -- --once  # stops after printing
//!
//! `words.proto` says what is served; the code in `generated` comes from it, by `generate`.

use std::{error::Error, time::Duration};

use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tonic::transport::{Server, server::TcpIncoming};
use tower::util::MapRequestLayer;
use tower_upstream::{GrpcDeadline, Limits, Origin, Upstream, UpstreamLayer};

use self::{
    proto::reader_server::ReaderServer,
    reader::Pages,
    upstreams::{serve_pages, serve_words},
};

mod client;
mod reader;
mod upstreams;

#[allow(warnings, reason = "generated")]
mod proto {
    include!("generated/words.rs");
}

/// How long calls under way may take to finish after Ctrl-C.
const DRAIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let once = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--once") => true,
        Some(flag) => return Err(format!("unknown flag {flag}: there is --once").into()),
    };
    let (pages, words) = (serve_pages().await?, serve_words().await?);
    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(10))
        .build()?;

    let address = if once {
        "127.0.0.1:0"
    } else {
        "127.0.0.1:50051"
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let here: Origin = format!("http://{}", listener.local_addr()?).parse()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::builder()
        // First, so that what waits for admission spends the caller's time too.
        .layer(MapRequestLayer::new(GrpcDeadline::note))
        .layer(UpstreamLayer::new(upstream.clone()).max_in_flight(100))
        .add_service(ReaderServer::new(Pages {
            pages,
            words: words.clone(),
        }))
        .serve_with_incoming_shutdown(incoming, async { drop(stopped.await) });
    let server = tokio::spawn(server);

    let client = Upstream::builder().build()?;
    client::read(&client, &here).await?;
    client::every_kind(&client, &words).await?;
    println!("\n[pool] {}", upstream.stats());
    if !once {
        println!("serving {here} until Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }
    drop(stop);
    let _ = timeout(DRAIN, server).await;
    upstream.drain(DRAIN).await;
    Ok(())
}
