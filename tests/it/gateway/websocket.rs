//! A WebSocket through the gateway.

use axum::{
    Router,
    extract::{WebSocketUpgrade, ws},
    routing::any,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use tower_upstream::Upstream;

use super::Gateway;
use crate::wire;

/// Sends everything back, and says why it stops.
async fn echo(upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.protocols(["echo"]).on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            if message == ws::Message::from("stop") {
                let close = ws::CloseFrame {
                    code: 4001,
                    reason: "as you wish".into(),
                };
                let _ = socket.send(ws::Message::Close(Some(close))).await;
            } else if matches!(message, ws::Message::Text(_) | ws::Message::Binary(_)) {
                socket.send(message).await.unwrap();
            }
        }
    })
}

#[tokio::test]
async fn a_websocket_echoes_through_the_gateway_until_it_is_closed() {
    let upstream = wire::serve(Router::new().route("/echo", any(echo))).await;
    let gateway = Gateway::before(&format!("http://{upstream}"), &[]).await;
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let request = http::Request::get(format!("ws://{}/proxy/echo", gateway.address))
        .header("host", "front.test")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "echo")
        .body(())
        .unwrap();
    let (mut socket, response) = client_async(request, socket).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "echo");

    for message in [
        Message::text("hello"),
        Message::binary(vec![7; 1 << 20]),
        Message::text("ö".repeat(100_000)),
        Message::text(""),
    ] {
        socket.send(message.clone()).await.unwrap();
        let back = socket.next().await.unwrap().unwrap();
        assert!(back == message, "it comes back as it was");
    }
    socket
        .send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    let pong = socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));
    let upgraded = stat(&gateway, "upgraded").await;
    assert_eq!(upgraded, 1, "the pool knows of it");

    socket.send(Message::text("stop")).await.unwrap();
    let close = socket.next().await.unwrap().unwrap();
    let reason = CloseFrame {
        code: CloseCode::Library(4001),
        reason: "as you wish".into(),
    };
    assert_eq!(close, Message::Close(Some(reason)));
    let _ = socket.close(None).await;
    drop(socket);
    while stat(&gateway, "open").await != 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// One of the numbers at `/stats`.
async fn stat(gateway: &Gateway, name: &str) -> u64 {
    let client = Upstream::builder().build().unwrap();
    let response = client.get(gateway.uri("/stats")).await.unwrap();
    let stats = response.into_body().text(100_000).await.unwrap();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    stats[name].as_u64().unwrap()
}
