//! gRPC responses cut at messages, through tonic on both sides.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod words;

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tonic::{
    Code, Status,
    body::Body,
    service::Routes,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceBuilder, util::MapResponseLayer};
use tower_upstream::{Truncate, TruncateLayer, Uncuttable};

use self::words::{Raw, WORDS, Words};

// === Both sides ===

/// A tonic server with the layer around its services.
async fn serve(truncate: Truncate) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(truncate.layer()).add_service(Words);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// A limit that nothing here reaches.
fn unlimited() -> Truncate {
    Truncate::grpc_messages(1000)
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.expect("the server listens")
}

/// The words of a stream and the status behind them.
async fn stream_of(
    address: SocketAddr,
    layer: Truncate,
    method: &'static str,
) -> (Vec<Bytes>, Status) {
    let service = TruncateLayer::new(layer).layer(channel(address).await);
    let mut client = tonic::client::Grpc::new(service);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(method);
    let request = tonic::Request::new(Bytes::new());
    let mut words = Vec::new();
    let response = match client.server_streaming(request, path, Raw).await {
        Ok(response) => response,
        Err(status) => return (words, status),
    };
    let mut stream = response.into_inner();
    loop {
        match stream.message().await {
            Ok(Some(word)) => words.push(word),
            Ok(None) => return (words, Status::ok("")),
            Err(status) => return (words, status),
        }
    }
}

async fn unary(address: SocketAddr) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel(address).await);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Words/Unary");
    let answer = client
        .unary(tonic::Request::new(Bytes::new()), path, Raw)
        .await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn a_tonic_stream_is_cut_behind_whole_messages_on_either_side() {
    // Rows 85 and 86.
    let stream = "/test.Words/Stream";
    for limit in 0..6 {
        let kept = WORDS.len().min(usize::try_from(limit).unwrap());
        let code = if kept < WORDS.len() {
            Code::ResourceExhausted
        } else {
            Code::Ok
        };
        let cut = Truncate::grpc_messages(limit);
        let served = stream_of(serve(cut.clone()).await, unlimited(), stream).await;
        let asked = stream_of(serve(unlimited()).await, cut.clone(), stream).await;
        for (words, status) in [served, asked] {
            assert_eq!(words, WORDS[..kept], "the first {limit} words");
            assert_eq!(
                status.code(),
                code,
                "and a status that does not hide the cut"
            );
        }
        let (words, status) = stream_of(serve(cut.take()).await, unlimited(), stream).await;
        assert_eq!(words, WORDS[..kept], "the first {limit} words");
        assert_eq!(status.code(), Code::Ok, "which is all that was wanted");
    }
}

#[tokio::test]
async fn a_tonic_unary_passes_whole_or_not_at_all() {
    // Rows 83, 84 and 88.
    let fits = Truncate::grpc_messages(1).longest_message(11);
    let answer = unary(serve(fits).await)
        .await
        .expect("eleven bytes are not too long");
    assert_eq!(answer, "a long word", "the message passes");
    for truncate in [
        Truncate::grpc_messages(1).longest_message(10),
        Truncate::grpc_messages(0),
    ] {
        let status = unary(serve(truncate).await)
            .await
            .expect_err("it is too long");
        assert_eq!(
            status.code(),
            Code::ResourceExhausted,
            "the client learns why: {status:?}"
        );
    }
}

#[tokio::test]
async fn a_status_without_content_and_an_uncuttable_grpc_response_stay_grpc() {
    // Rows 89 and 91.
    let missing = stream_of(
        serve(Truncate::grpc_messages(1)).await,
        unlimited(),
        "/test.Words/None",
    );
    assert_eq!(
        missing.await.1.code(),
        Code::Unimplemented,
        "the status passes"
    );
    let text = Truncate::chars(1).any_type();
    let (words, status) =
        stream_of(serve(text.clone()).await, unlimited(), "/test.Words/Stream").await;
    assert_eq!(
        (words.len(), status.code()),
        (4, Code::Ok),
        "a limit for text passes it"
    );
    let refuse = serve(text.uncuttable(Uncuttable::Refuse)).await;
    let (words, status) = stream_of(refuse, unlimited(), "/test.Words/Stream").await;
    assert!(words.is_empty(), "or refuses it whole");
    assert_eq!(status.code(), Code::ResourceExhausted, "by a status");
}

#[tokio::test]
async fn a_partial_message_before_a_good_status_is_a_silent_loss_that_we_make_a_failure() {
    // Row 90, and why a body of gRPC must never be cut inside a message.
    let address = serve(Truncate::bytes(u64::MAX)).await;
    let mut client = tonic::client::Grpc::new(channel(address).await);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Words/Lossy");
    let request = tonic::Request::new(Bytes::new());
    let mut stream = client
        .server_streaming(request, path, Raw)
        .await
        .unwrap()
        .into_inner();
    let first: Option<Bytes> = stream.message().await.unwrap();
    assert_eq!(
        first.as_deref(),
        Some(&b"one"[..]),
        "the whole message comes"
    );
    let second = stream.message().await;
    assert!(
        matches!(second, Ok(None)),
        "by itself tonic takes the part for a good end"
    );

    let (words, status) = stream_of(address, unlimited(), "/test.Words/Lossy").await;
    assert_eq!(words, ["one"], "the whole message comes");
    assert_eq!(
        status.code(),
        Code::Internal,
        "the part does not pass for a good end"
    );
    let (words, status) =
        stream_of(serve(unlimited()).await, unlimited(), "/test.Words/Lossy").await;
    assert_eq!(words, ["one"], "the whole message comes");
    assert_eq!(status.code(), Code::Internal, "nor does it over the wire");
}

// === gRPC-Web ===

/// Asks over HTTP/1.1 as a browser would.
async fn web(address: SocketAddr, method: &str) -> (HeaderMap, Bytes) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/test.Words/{method}"));
    let request = request
        .header("host", "test")
        .header("content-type", "application/grpc-web+proto");
    let body = Full::new(Bytes::from_static(&[0; 5]));
    let response = sender
        .send_request(request.body(body).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .expect("the body ends as it was announced");
    (head.headers, body.to_bytes())
}

/// A server that speaks gRPC-Web, with `inner` between the translation and the services.
async fn serve_web<L>(inner: L) -> SocketAddr
where
    L: Layer<Routes> + Clone + Send + 'static,
    L::Service: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    L::Service: Clone + Send + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layers = ServiceBuilder::new()
        .layer(GrpcWebLayer::new())
        .layer(inner);
    let mut server = Server::builder().accept_http1(true).layer(layers);
    let server = server.add_service(Words);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

#[tokio::test]
async fn inside_the_grpc_web_layer_the_cut_is_at_messages_and_no_length_is_stated() {
    // Rows 92 and 95: that layer adds a frame to the content but hints the length without it, so a
    // body that hints an exact length loses its status.
    let exact = MapResponseLayer::new(|response: Response<Body>| {
        response.map(|_| Body::new(Full::new(Bytes::from_static(b"\0\0\0\0\x03one"))))
    });
    let (headers, body) = web(serve_web(exact).await, "Unary").await;
    assert_eq!(
        headers["content-length"], "8",
        "the length of the message alone is stated"
    );
    assert_eq!(
        body,
        &b"\0\0\0\0\x03one"[..],
        "and the frame of trailers is lost"
    );

    let boxed = MapResponseLayer::new(|response: Response<_>| response.map(Body::new));
    let cut = ServiceBuilder::new().layer(boxed);
    let address = serve_web(cut.layer(Truncate::grpc_messages(2).layer())).await;
    let streamed = &b"\0\0\0\0\x03one\0\0\0\0\x03two"[..];
    for (method, data, code) in [
        ("Stream", streamed, 8),
        ("Unary", b"\0\0\0\0\x0ba long word", 0),
    ] {
        let (headers, body) = web(address, method).await;
        assert_eq!(
            headers.get("content-length"),
            None,
            "{method}: no length is stated"
        );
        let (messages, trailers) = body.split_at(data.len());
        assert_eq!(messages, data, "{method}: whole messages");
        assert_eq!(trailers[0], 0x80, "{method}: and a frame of trailers");
        let trailers = String::from_utf8_lossy(&trailers[5..]);
        let status = format!("grpc-status:{code}");
        assert!(
            trailers.contains(&status),
            "{method}: with the status: {trailers}"
        );
    }
}

#[tokio::test]
async fn outside_the_grpc_web_layer_nothing_is_cut() {
    // Rows 93 and 94: from there its trailers are content.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layers = ServiceBuilder::new()
        .layer(Truncate::grpc_messages(2).layer())
        .layer(GrpcWebLayer::new());
    let server = Server::builder()
        .accept_http1(true)
        .layer(layers)
        .add_service(Words);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let (_, body) = web(address, "Stream").await;
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("four"), "every message passes: {body:?}");
    assert!(body.contains("grpc-status:0"), "and the status: {body:?}");
}
