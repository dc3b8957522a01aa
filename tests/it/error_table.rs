//! The error types of RFC 9209 §2.3: what two kinds of clients are told of each, by a real exchange.

use std::{any::Any, fmt::Write as _, fs, io, path::Path, time::Duration};

use http::{Request, Version};
use http_body_util::BodyExt;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
};
use tower_upstream::{
    ErrorKind, Forward, Gather, Limits, Timeouts, Truncate, Upstream, UpstreamBuilder,
};

use crate::{
    faults,
    support::{
        Peer, Server,
        client::{Client, Whole},
        dials::Dials,
        front, sized,
    },
    tls::Authority,
};

/// What comes of a type.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// `Forward` answers with this status, gRPC code and type.
    Answered(u16, i32),
    /// An error of the crate's says so: for `Forward`, the head is out by then.
    Reported(u16, i32),
    /// It is never said, for this reason.
    Never(&'static str),
}

use Outcome::{Answered, Never, Reported};

/// All of them, in the RFC's order.
const TABLE: [(&str, Outcome); 32] = [
    (
        "dns_timeout",
        Never("a look-up is part of connecting: `connection_timeout`"),
    ),
    ("dns_error", Answered(502, 14)),
    (
        "destination_not_found",
        Never("an origin is configured, and not looked for"),
    ),
    ("destination_unavailable", Answered(502, 14)),
    ("destination_ip_prohibited", Answered(502, 7)),
    ("destination_ip_unroutable", Answered(502, 14)),
    ("connection_refused", Answered(502, 14)),
    ("connection_terminated", Answered(502, 14)),
    ("connection_timeout", Answered(504, 14)),
    ("connection_read_timeout", Answered(504, 4)),
    ("connection_write_timeout", Answered(504, 4)),
    ("connection_limit_reached", Answered(503, 14)),
    ("tls_protocol_error", Answered(502, 14)),
    ("tls_certificate_error", Answered(502, 14)),
    ("tls_alert_received", Answered(502, 14)),
    ("http_request_error", Answered(400, 3)),
    (
        "http_request_denied",
        Never("who may ask for what is for layers in front to say"),
    ),
    ("http_response_incomplete", Reported(502, 14)),
    ("http_response_header_section_size", Answered(502, 13)),
    (
        "http_response_header_size",
        Never("the bound is on the section"),
    ),
    ("http_response_body_size", Reported(502, 8)),
    (
        "http_response_trailer_section_size",
        Never("a body whose trailers are too large breaks off: `http_response_incomplete`"),
    ),
    (
        "http_response_trailer_size",
        Never("the bound is on the section"),
    ),
    (
        "http_response_transfer_coding",
        Never(
            "a coding that is not chunked is no HTTP/1.1 that was asked for: `http_protocol_error`",
        ),
    ),
    ("http_response_content_coding", Reported(502, 13)),
    ("http_response_timeout", Answered(504, 4)),
    (
        "http_upgrade_failed",
        Never("what an upstream answers to an upgrade is passed on"),
    ),
    ("http_protocol_error", Answered(502, 13)),
    ("proxy_internal_response", Answered(503, 14)),
    ("proxy_internal_error", Answered(500, 13)),
    ("proxy_configuration_error", Reported(500, 13)),
    ("proxy_loop_detected", Answered(502, 10)),
];

/// The timeout that a type is about, where it is about one.
const SHORT: Duration = Duration::from_millis(100);

/// A proxy whose every answer is the one error, and what must be there for that.
struct Scene {
    forward: Forward,
    /// How long the requests' bodies are.
    body: usize,
    _kept: Box<dyn Any>,
}

fn builder() -> UpstreamBuilder {
    faults::builder().http1_only()
}

impl Scene {
    fn at(upstream: &Upstream, origin: &str, kept: impl Any) -> Self {
        Self {
            forward: upstream.forward_to(origin.parse().unwrap()),
            body: 0,
            _kept: Box::new(kept),
        }
    }

    /// Where there need be no server.
    fn without(builder: UpstreamBuilder, origin: &str) -> Self {
        Self::at(&builder.build().unwrap(), origin, ())
    }

    /// A server that does this with each connection.
    async fn with<F, Fut>(builder: UpstreamBuilder, script: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let server = Server::start(script).await;
        let upstream = builder.build().unwrap();
        Self::at(&upstream, &server.uri("/"), server)
    }

    /// A server that answers like this.
    async fn answering(bytes: Vec<u8>) -> Self {
        Self::with(builder(), move |peer| answer(peer, bytes.clone())).await
    }

    /// A server of TLS that is not what is expected of it.
    async fn over_tls(server: Authority, builder: UpstreamBuilder) -> Self {
        let server = server.serve().await.over_tls();
        let upstream = builder.build().unwrap();
        Self::at(&upstream, &server.uri("/"), server)
    }
}

async fn answer(mut peer: Peer, bytes: Vec<u8>) -> io::Result<()> {
    peer.request().await?;
    peer.write(bytes).await?;
    peer.closed().await;
    Ok(())
}

async fn silence(mut peer: Peer) -> io::Result<()> {
    peer.closed().await;
    Ok(())
}

fn times_out(timeouts: impl FnOnce(Timeouts) -> Timeouts) -> UpstreamBuilder {
    builder().timeouts(timeouts(faults::patient()))
}

/// What `Forward` needs to answer with this type.
async fn scene(name: &str) -> Scene {
    match name {
        "connection_terminated" => {
            Scene::with(builder(), |mut peer| async move {
                peer.request().await.map(drop)
            })
            .await
        }
        "connection_read_timeout" => {
            Scene::with(times_out(|timeouts| timeouts.read(SHORT)), silence).await
        }
        "connection_write_timeout" => {
            let script = |mut peer: Peer| async move {
                // Its socket is full soon, and stays so.
                let read = peer.stream.read_u8().await;
                std::future::pending::<()>().await;
                read.map(drop)
            };
            let scene = Scene::with(times_out(|timeouts| timeouts.write(SHORT)), script).await;
            Scene {
                body: 16 << 20,
                ..scene
            }
        }
        "http_response_timeout" => {
            Scene::with(times_out(|timeouts| timeouts.total(SHORT)), silence).await
        }
        "connection_limit_reached" => at_the_limit().await,
        "http_response_header_section_size" => {
            let field = "y".repeat(1 << 20);
            Scene::answering(format!("HTTP/1.1 200 OK\r\nx: {field}\r\n\r\n").into()).await
        }
        "http_protocol_error" => Scene::answering("SSH-2.0-OpenSSH\r\n".into()).await,
        "proxy_internal_response" => {
            let upstream = builder().build().unwrap();
            upstream.drain(Duration::ZERO).await;
            Scene::at(&upstream, "http://127.0.0.1", ())
        }
        _ => scene_of_dialling(name).await,
    }
}

/// The same for those in which no request is sent.
async fn scene_of_dialling(name: &str) -> Scene {
    match name {
        "dns_error" => Scene::without(builder(), "http://nope.invalid"),
        "destination_unavailable" => {
            let dials = Dials::new(|_| async { Err::<TcpStream, _>(io::Error::other("broken")) });
            Scene::without(faults::any_connector().connector(dials), "http://a.test")
        }
        "destination_ip_prohibited" => {
            Scene::without(builder().allow_addresses(|_| false), "http://127.0.0.1")
        }
        "destination_ip_unroutable" => Scene::without(builder(), "http://224.0.0.1"),
        "connection_refused" => {
            let nobody = TcpSocket::new_v4().unwrap();
            nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let origin = format!("http://{}", nobody.local_addr().unwrap());
            Scene::at(&builder().build().unwrap(), &origin, nobody)
        }
        "connection_timeout" => {
            let full = TcpSocket::new_v4().unwrap();
            full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let full: TcpListener = full.listen(0).unwrap();
            let address = full.local_addr().unwrap();
            let filler = TcpStream::connect(address).await.unwrap();
            let upstream = times_out(|timeouts| timeouts.connect(SHORT));
            let upstream = upstream.build().unwrap();
            Scene::at(&upstream, &format!("http://{address}"), (full, filler))
        }
        "tls_protocol_error" => {
            let server = Server::start(|mut peer| async move {
                peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await?;
                silence(peer).await
            });
            let server = server.await.over_tls();
            Scene::at(&builder().build().unwrap(), &server.uri("/"), server)
        }
        "tls_certificate_error" => Scene::over_tls(Authority::new("localhost"), builder()).await,
        "tls_alert_received" => {
            let mut authority = Authority::new("localhost");
            let trusting = builder().tls(authority.trusting.clone());
            let mut config = (*authority.server).clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            authority.server = config.into();
            Scene::over_tls(authority, trusting).await
        }
        "proxy_internal_error" => {
            let panics = async |_| -> io::Result<TcpStream> { panic!("as the test wants it") };
            let upstream = faults::any_connector().connector(Dials::new(panics));
            Scene::without(upstream, "http://a.test")
        }
        _ => panic!("nobody knows how to come to {name}"),
    }
}

/// The only connection is held, and nobody may wait.
async fn at_the_limit() -> Scene {
    let server = Server::answering(|_| async {
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec()
    })
    .await;
    let limits = Limits::new().max_connections(1).max_pending(0);
    let upstream = builder().limits(limits).build().unwrap();
    let held = upstream.get(server.uri("/")).await.unwrap();
    let uri = server.uri("/");
    Scene::at(&upstream, &uri, (held, server))
}

/// What a client of HTTP is told, and one of gRPC.
async fn answered(name: &str) -> [Whole; 2] {
    if name == "proxy_loop_detected" {
        let (listener, address) = front::listen().await;
        let itself = format!("http://{address}");
        let scene = Scene::without(builder(), &itself);
        let forward = scene.forward.proxy_status(true).name("edge");
        front::router_on(listener, axum::Router::new().fallback_service(forward));
        return ask(address, 0).await;
    }
    if name == "http_request_error" {
        let scene = Scene::without(builder(), "http://127.0.0.1");
        let forward = scene.forward.proxy_status(true).name("edge");
        // A loop of requests that a server changes for the worse.
        let worse = forward.on_request(|head| head.uri = http::Uri::from_static("*"));
        return ask(front::axum(worse).await, 0).await;
    }
    let scene = scene(name).await;
    let forward = scene.forward.clone().proxy_status(true).name("edge");
    ask(front::axum(forward).await, scene.body).await
}

async fn ask(front: std::net::SocketAddr, body: usize) -> [Whole; 2] {
    let ask = async |request: http::request::Builder| {
        let mut client = Client::connect(front, Version::HTTP_2).await;
        client.ask(request, vec![b'x'; body]).await
    };
    let call = Request::post("/package.Service/Method").header("content-type", "application/grpc");
    [ask(Request::post("/")).await, ask(call).await]
}

/// What is said of it where `Forward` has no say.
async fn reported(name: &str) -> ErrorKind {
    let upstream = builder().build().unwrap();
    let server = Server::start(|mut peer| async move {
        let request = peer.request().await?.unwrap();
        peer.write(match request.path() {
            "/half" => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec(),
            "/coded" => {
                let coded =
                    "content-encoding: gzip\r\ncontent-type: text/plain\r\ncontent-length: 3";
                format!("HTTP/1.1 200 OK\r\n{coded}\r\n\r\nnot").into()
            }
            _ => sized("more than twenty bytes"),
        })
        .await
    })
    .await;
    let read = async |path| {
        let response = upstream.get(server.uri(path)).await.unwrap();
        response.into_body().text(20).await.unwrap_err().kind()
    };
    match name {
        "http_response_incomplete" => read("/half").await,
        "http_response_body_size" => read("/").await,
        "http_response_content_coding" => {
            // A leg of a gather, which has to read what it cuts.
            let legs = Gather::get([server.uri("/coded")]).truncate(Truncate::chars(5));
            let gathered = legs.send(&upstream).await;
            assert_eq!(gathered.status(), 502);
            let text = gathered.into_body().collect().await.unwrap().to_bytes();
            let kind = ErrorKind::Decode;
            let words = kind.to_string();
            assert!(String::from_utf8_lossy(&text).contains(&words), "{text:?}");
            kind
        }
        "proxy_configuration_error" => {
            let nothing = builder().limits(Limits::new().max_connections(0));
            nothing.build().unwrap_err().kind()
        }
        _ => panic!("nobody knows how to come to {name}"),
    }
}

#[tokio::test]
async fn each_error_type_of_rfc_9209_is_told_as_the_table_says_or_never() {
    for (name, outcome) in TABLE {
        match outcome {
            Answered(status, code) => {
                let [http, grpc] = answered(name).await;
                let proxy_status = format!("\"edge\"; error={name}");
                assert_eq!(http.field("proxy-status"), Some(&*proxy_status));
                assert_eq!(http.head.status, status, "{name}");
                assert_eq!(grpc.head.status, 200, "{name}: to gRPC");
                assert_eq!(
                    grpc.field("grpc-status"),
                    Some(&*code.to_string()),
                    "{name}"
                );
                assert_eq!(grpc.field("proxy-status"), Some(&*proxy_status));
            }
            Reported(status, code) => {
                let kind = reported(name).await;
                let told = (
                    kind.proxy_status(),
                    kind.status().as_u16(),
                    kind.grpc_code(),
                );
                assert_eq!(told, (name, status, code), "{kind:?}");
            }
            Never(reason) => assert!(!reason.is_empty(), "{name}"),
        }
    }
}

#[test]
fn the_docs_have_the_table() {
    let mut rows = String::new();
    for (name, outcome) in TABLE {
        match outcome {
            Answered(status, code) => writeln!(rows, "| `{name}` | {status} | {code} | |"),
            Reported(status, code) => {
                writeln!(rows, "| `{name}` | {status} | {code} | by an error alone |")
            }
            Never(reason) => writeln!(rows, "| `{name}` | | | never: {reason} |"),
        }
        .unwrap();
    }
    let doc = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    let doc = fs::read_to_string(doc).unwrap();
    assert!(
        doc.contains(&rows),
        "docs/reliability.md should have:\n{rows}"
    );
}
