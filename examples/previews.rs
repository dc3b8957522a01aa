//! The recipe: one shared handle with at most ten connections, five pages fetched at once, and the
//! first 50 characters of each as one streamed response.
//!
//!     cargo run --example previews                        # five pages of its own
//!     cargo run --example previews -- --once URL...       # other pages, and stop after printing
//!     curl http://127.0.0.1:3000/
//!
//! `--ca-file PEM` trusts the authorities in that file beside the system's.

use std::{error::Error, time::Duration};

use axum::{
    Router, body::Body, extract::State, response::IntoResponse, routing::get, serve::ListenerExt,
};
use futures_util::stream;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::net::TcpListener;
use tower_upstream::{Gather, Limits, Timeouts, Truncate, Upstream, UpstreamLayer};

/// How long requests under way may take to finish after Ctrl-C.
const DRAIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::parse(std::env::args().skip(1))?;
    if options.urls.is_empty() {
        options.urls = pages().await?;
    }

    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(10).max_idle_connections(5))
        .timeouts(Timeouts::new(Duration::from_secs(5)).read(Duration::from_secs(15)))
        .root_certificates(options.authorities)
        .build()?;

    let app = Router::new()
        .route("/", get(previews))
        .with_state(options.urls)
        .layer(UpstreamLayer::new(upstream.clone()).max_in_flight(100));

    let address = if options.once {
        "127.0.0.1:0"
    } else {
        "127.0.0.1:3000"
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let here = format!("http://{}/", listener.local_addr()?);
    // Without this, the pieces of a streamed body wait for each other's acknowledgement.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());

    println!(
        "{}",
        Upstream::builder()
            .build()?
            .get(&here)
            .await?
            .into_body()
            .text(1 << 20)
            .await?
    );
    println!("\n[pool] {}", upstream.stats());
    if !options.once {
        println!("serving {here} until Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }
    drop(stop);
    let _ = tokio::time::timeout(DRAIN, server).await;
    upstream.drain(DRAIN).await;
    Ok(())
}

async fn previews(State(urls): State<Vec<String>>, upstream: Upstream) -> impl IntoResponse {
    Gather::get(urls)
        .truncate(Truncate::chars(50))
        .send(&upstream)
        .await
}

/// Serves five pages on a port of their own: text of one to four bytes a character, of a length
/// that is told or not, one of them slow, one large, one short.
async fn pages() -> Result<Vec<String>, Box<dyn Error>> {
    let chunks = |text: &'static str| {
        let chunks = text.as_bytes().chunks(7).map(Ok::<_, std::io::Error>);
        Body::from_stream(stream::iter(chunks))
    };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "This page takes its time before it says anything at all, but what it says is worth it."
    };
    let site = Router::new()
        .route("/sized", get("A page whose length is told in its head, as most pages do it."))
        .route("/chunked", get(move || async move {
            chunks("Ein Häuflein größerer Wörter, stückweise über die Straße geschickt – häppchenweise.")
        }))
        .route("/slow", get(slow))
        .route("/large", get(|| async { "長い物語は始まりから読む。".repeat(100_000) }))
        .route("/short", get("🦀 short 🦀"));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, site).await });
    let paths = ["sized", "chunked", "slow", "large", "short"];
    Ok(paths
        .map(|path| format!("http://{address}/{path}"))
        .to_vec())
}

#[derive(Default)]
struct Options {
    once: bool,
    authorities: Vec<CertificateDer<'static>>,
    urls: Vec<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--once" => options.once = true,
                "--ca-file" => {
                    let file = arguments
                        .next()
                        .ok_or("--ca-file needs the path of a PEM file")?;
                    let read = |error| format!("--ca-file {file}: {error}");
                    options.authorities = CertificateDer::pem_file_iter(&file)
                        .map_err(read)?
                        .collect::<Result<_, _>>()
                        .map_err(read)?;
                }
                flag if flag.starts_with('-') => {
                    return Err(
                        format!("unknown flag {flag}: there are --once and --ca-file PEM").into(),
                    );
                }
                _ => options.urls.push(argument),
            }
        }
        Ok(options)
    }
}
