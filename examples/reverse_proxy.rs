//! A reverse proxy with a handler of its own: what the router does not know goes on to one origin,
//! a WebSocket included.
//!
//!     cargo run --example reverse_proxy                            # to a backend of its own
//!     cargo run --example reverse_proxy -- http://127.0.0.1:8000   # to another one
//!     curl http://127.0.0.1:3000/hello
//!
//! It tries itself once and prints what came back, then serves until Ctrl-C; with `--once` it stops
//! after printing.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::{
        ConnectInfo,
        ws::{WebSocket, WebSocketUpgrade},
    },
    http::HeaderMap,
    routing::{any, get},
    serve::ListenerExt,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tower_upstream::Upstream;

/// How long exchanges and WebSockets may go on after Ctrl-C.
const DRAIN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (flags, origins): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with('-'));
    let once = match flags.as_slice() {
        [] => false,
        [flag] if flag == "--once" => true,
        _ => return Err("there is one flag: --once".into()),
    };
    let own = origins.is_empty();
    let origin = match origins.into_iter().next() {
        Some(origin) => origin,
        None => format!("http://{}", backend().await?),
    };

    let upstream = Upstream::builder().build()?;
    let forward = upstream
        .forward_to(origin.parse()?)
        .client_address(|client: &ConnectInfo<SocketAddr>| client.ip());
    let app = Router::new()
        .route("/health", get("ok"))
        .fallback_service(forward)
        .into_make_service_with_connect_info::<SocketAddr>();

    let listener = TcpListener::bind(if once {
        "127.0.0.1:0"
    } else {
        "127.0.0.1:3000"
    })
    .await?;
    let front = listener.local_addr()?;
    // Without this, the pieces of a streamed body wait for each other's acknowledgement.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());

    println!("/health: {}", text(front, "/health").await?);
    if own {
        println!("/hello: {}", text(front, "/hello").await?);
        println!("/echo: {}", chat(front, "a WebSocket says hello").await?);
    }
    if !once {
        println!("forwarding http://{front}/ to {origin} until Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }
    drop(stop);
    let _ = tokio::time::timeout(DRAIN, server).await;
    // WebSockets are no longer the server's, but the handle waits for those too.
    upstream.drain(DRAIN).await;
    Ok(())
}

async fn text(front: SocketAddr, path: &str) -> Result<String, tower_upstream::Error> {
    let client = Upstream::builder().build()?;
    let response = client.get(format!("http://{front}{path}")).await?;
    response.into_body().text(1 << 16).await
}

/// Says one thing over a WebSocket through the proxy, and hears what comes back.
async fn chat(front: SocketAddr, text: &str) -> Result<String, Box<dyn Error>> {
    let socket = TcpStream::connect(front).await?;
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{front}/echo"), socket).await?;
    socket.send(text.into()).await?;
    let echo = socket.next().await.ok_or("the WebSocket ended")??;
    socket.close(None).await?;
    Ok(echo.into_text()?.to_string())
}

/// What stands behind the proxy: it says who it thinks its client is, and echoes.
async fn backend() -> std::io::Result<SocketAddr> {
    let hello = async |headers: HeaderMap| {
        let forwarded = headers
            .get("forwarded")
            .and_then(|value| value.to_str().ok());
        format!("hello, {}", forwarded.unwrap_or("whoever you are"))
    };
    let echo = async |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket: WebSocket| {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        })
    };
    let app = Router::new()
        .route("/hello", get(hello))
        .route("/echo", any(echo));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}
