//! Cut bodies through a real server, whose debug build asserts that lengths agree.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, Response, StatusCode},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceExt, service_fn};
use tower_upstream::{Truncate, TruncateLayer, Truncation, TruncationOutcome};

type Sender = http1::SendRequest<Empty<Bytes>>;

const TEXT: &str = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich";

/// Serves `router` and returns its address.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn connect(address: SocketAddr) -> Sender {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// One exchange, read to its end.
async fn exchange(
    sender: &mut Sender,
    method: Method,
    path: &str,
) -> (StatusCode, HeaderMap, Bytes) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "test").body(Empty::new()).unwrap();
    sender
        .ready()
        .await
        .expect("the connection can be used again");
    let response = sender
        .send_request(request)
        .await
        .expect("the server answers");
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .expect("the body ends as it was announced");
    (head.status, head.headers, body.to_bytes())
}

/// `text` in small chunks, so that no length is known.
fn chunked(text: &'static str) -> Body {
    let chunks = text.as_bytes().chunks(3);
    let chunks = chunks.map(|chunk| Ok::<_, Infallible>(Bytes::from_static(chunk)));
    Body::from_stream(stream::iter(chunks))
}

fn pages() -> Router {
    Router::new()
        .route("/sized", get(async || TEXT))
        .route("/chunked", get(async || (plain(), chunked(TEXT))))
        .route("/short", get(async || "kurz"))
        .route("/empty", get(async || ""))
        .route("/nothing", get(async || StatusCode::NO_CONTENT))
        .route("/stated", get(async || (stated(), chunked(TEXT))))
        .route("/picture", get(async || TEXT.as_bytes()))
}

fn plain() -> [(&'static str, &'static str); 1] {
    [("content-type", "text/plain")]
}

/// The right length in the header, on a body that does not know it.
fn stated() -> [(&'static str, String); 2] {
    [
        ("content-type", "text/plain".into()),
        ("content-length", TEXT.len().to_string()),
    ]
}

fn first(limit: usize) -> String {
    TEXT.chars().take(limit).collect()
}

#[tokio::test]
async fn an_axum_router_is_cut_on_one_connection_whatever_the_framing() {
    let mut sender = connect(serve(pages().layer(Truncate::chars(10).layer())).await).await;
    for path in ["/sized", "/chunked", "/stated"] {
        let (status, headers, body) = exchange(&mut sender, Method::GET, path).await;
        assert_eq!(status, StatusCode::OK, "the status of {path} stays");
        assert_eq!(body, first(10), "ten characters of {path}");
        assert_eq!(
            headers.get("content-length"),
            None,
            "{path}: their bytes are not known"
        );
        let told = headers.contains_key("content-truncated");
        assert_eq!(
            told,
            path != "/chunked",
            "{path}: told if the length was known"
        );

        let (_, headers, body) = exchange(&mut sender, Method::HEAD, path).await;
        assert!(body.is_empty(), "a HEAD of {path} has no body");
        assert_eq!(
            headers.get("content-length"),
            None,
            "{path}: nor a length of the whole"
        );
    }
    for (path, expected) in [("/short", "kurz"), ("/empty", ""), ("/nothing", "")] {
        let (_, headers, body) = exchange(&mut sender, Method::GET, path).await;
        assert_eq!(body, expected, "{path} passes");
        assert!(
            !headers.contains_key("content-truncated"),
            "{path} is whole"
        );
    }
    let (_, headers, body) = exchange(&mut sender, Method::GET, "/picture").await;
    assert_eq!(body, TEXT, "what is no text passes");
    assert_eq!(
        headers["content-length"],
        TEXT.len().to_string(),
        "as it is"
    );
}

#[tokio::test]
async fn lengths_in_bytes_are_exact_on_the_wire_for_get_and_head() {
    // Rows 3, 7 and 57, and that no wrong length reaches the server's encoder.
    for limit in [0, 1, 10, TEXT.len() - 1] {
        let layer = TruncateLayer::new(Truncate::bytes(limit as u64));
        let mut sender = connect(serve(pages().layer(layer)).await).await;
        for path in ["/sized", "/stated"] {
            let (_, headers, body) = exchange(&mut sender, Method::GET, path).await;
            assert_eq!(body, TEXT.as_bytes()[..limit], "{limit} bytes of {path}");
            assert_eq!(
                headers["content-length"],
                limit.to_string(),
                "which is stated"
            );
            let (_, headers, _) = exchange(&mut sender, Method::HEAD, path).await;
            assert_eq!(
                headers["content-length"],
                limit.to_string(),
                "also to a HEAD"
            );
        }
        let (_, _, body) = exchange(&mut sender, Method::GET, "/chunked").await;
        assert_eq!(
            body,
            TEXT.as_bytes()[..limit],
            "{limit} bytes of an unknown length"
        );
    }
}

#[tokio::test]
async fn an_upstream_error_breaks_the_connection_before_the_limit_and_is_unseen_behind_it() {
    // Rows 48 and 49.
    let broken = || {
        let chunks = [Ok(Bytes::from_static(b"abcdef")), Err("gone")];
        (plain(), Body::from_stream(stream::iter(chunks)))
    };
    let router = Router::new().route("/", get(async move || broken()));
    let request = || {
        Request::builder()
            .uri("/")
            .header("host", "test")
            .body(Empty::new())
            .unwrap()
    };

    let address = serve(router.clone().layer(Truncate::bytes(10).layer())).await;
    let response = connect(address).await.send_request(request()).await;
    // The server may notice before or after the head has gone out.
    if let Ok(response) = response {
        let body = response.into_body().collect().await;
        assert!(body.is_err(), "a body that failed does not end cleanly");
    }
    let address = serve(router.layer(Truncate::bytes(4).layer())).await;
    let response = connect(address)
        .await
        .send_request(request())
        .await
        .unwrap();
    let body = response.into_body().collect().await;
    assert_eq!(
        body.expect("it ended before").to_bytes(),
        "abcd",
        "the limit came first"
    );
}

#[tokio::test]
async fn a_client_is_cut_by_the_same_layer_and_asks_for_what_can_be_cut() {
    // Rows 11, 12 and 64: the layer around a client of any kind.
    let echo = get(async |headers: HeaderMap| {
        let asked =
            ["accept-encoding", "range", "if-none-match"].map(|name| headers.get(name).cloned());
        (plain(), format!("{asked:?}"))
    });
    let address = serve(pages().route("/echo", echo)).await;
    let client =
        service_fn(
            move |request| async move { connect(address).await.send_request(request).await },
        );
    let get = |path: &str| {
        let request = Request::builder().uri(path).header("host", "test");
        let request = request
            .header("range", "bytes=0-1")
            .header("if-none-match", "*");
        request
            .header("accept-encoding", "gzip")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };

    let cut = tower::ServiceBuilder::new()
        .layer(Truncate::chars(10).layer())
        .service(client);
    let response = cut.clone().oneshot(get("/chunked")).await.unwrap();
    let truncation = response.extensions().get::<Truncation>().cloned().unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, first(10), "ten characters pass");
    let limit_reached = matches!(
        truncation.outcome(),
        TruncationOutcome::Cut { bytes: 11, .. } | TruncationOutcome::LimitReached { bytes: 11 }
    );
    assert!(limit_reached, "the outcome is told: {truncation:?}");

    let all = tower::ServiceBuilder::new()
        .layer(Truncate::chars(500).layer())
        .service(client);
    let response = all.oneshot(get("/echo")).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        body, "[Some(\"identity\"), None, None]",
        "it asks for the whole, as it is"
    );
}

#[tokio::test]
async fn nothing_is_read_behind_the_limit() {
    // Rows 10 and 52: an upstream that never goes on is not waited for.
    let stalled = || {
        let chunks = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"abcdef"))]);
        let body = Body::from_stream(futures_util::StreamExt::chain(chunks, stream::pending()));
        Response::builder()
            .header("content-type", "text/plain")
            .body(body)
            .unwrap()
    };
    let router = Router::new().route("/", get(async move || stalled()));
    let mut sender = connect(serve(router.layer(Truncate::bytes(4).layer())).await).await;
    for _ in 0..2 {
        let exchange = exchange(&mut sender, Method::GET, "/");
        let exchange = tokio::time::timeout(Duration::from_secs(10), exchange).await;
        let (_, _, body) = exchange.expect("the response ends at its limit");
        assert_eq!(body, "abcd", "four bytes pass");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_cut_body_that_ends_with_its_connection() {
    // Row 77.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = serve(pages().layer(Truncate::chars(10).layer())).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET /chunked HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut response = String::new();
    socket
        .read_to_string(&mut response)
        .await
        .expect("the connection ends");
    let (head, body) = response.split_once("\r\n\r\n").expect("there is a head");
    assert_eq!(body, first(10), "ten characters, without chunks");
    assert!(
        !head.contains("content-length"),
        "and without a length: {head}"
    );
}

/// Auto traits are part of the interface.
#[test]
fn the_layer_fits_where_services_are_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    shared::<Truncate>();
    shared::<Truncation>();
    shared::<TruncateLayer>();
    shared::<tower_upstream::TruncateService<Router>>();
    sent::<tower_upstream::TruncateBody<Body>>();
    sent::<tower_upstream::TruncateFuture<std::future::Ready<()>>>();
    fn unpinned<T: Unpin>() {}
    unpinned::<tower_upstream::TruncateBody<Body>>();
}
