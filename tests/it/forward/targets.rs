//! Cases I6 and I11: where a request goes, and what it takes along.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Request;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_upstream::{Error, ErrorKind, Limits, public_addresses};

use super::support::{axum, get, lines, status};
use crate::{
    faults,
    support::{
        Peer, Received, Server, echo, sized,
        trial::{CAP, Trial},
    },
    tls::Authority,
};

#[tokio::test]
async fn i6_an_origin_inside_is_not_dialled_however_it_is_written() {
    let server = Server::saying("secret").await;
    let port = server.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "0177.1",
        "2130706433",
        "0x7f.1",
        "169.254.169.254",
        "[::1]",
    ] {
        let Ok(origin) = format!("http://{host}:{port}").parse() else {
            continue;
        };
        let upstream = faults::builder().allow_addresses(public_addresses);
        let upstream = upstream.build().unwrap();
        let forward = upstream.forward_to(origin);
        let front = axum(forward.proxy_status(true).name("edge")).await;
        let response = get(front, "").await;
        assert_eq!(status(&response), "502", "{host}: {response}");
        assert!(!response.contains("secret"), "{host}: {response}");
        assert_eq!(
            lines(&response, "proxy-status"),
            ["\"edge\"; error=destination_ip_prohibited"],
            "{host}"
        );
        assert_eq!(upstream.stats().opened, 0, "{host}");
        assert_eq!(server.accepted(), 0, "{host}: not one SYN");
    }
}

#[tokio::test]
async fn i6_each_dial_asks_again_whether_the_address_is_allowed() {
    // As if a name came to mean another address between two requests.
    let allowed = Arc::new(AtomicBool::new(true));
    let filter = {
        let allowed = allowed.clone();
        move |address: &IpAddr| address.is_ipv4() && allowed.load(Ordering::SeqCst)
    };
    let none_is_kept = Limits::new().max_connections(CAP).max_idle_connections(0);
    let builder = faults::builder().limits(none_is_kept);
    let trial = Trial::start(builder.allow_addresses(filter)).await;
    let server = trial.server(echo::serve).await;
    let origin = format!("http://localhost:{}", server.address.port());
    let front = axum(trial.upstream.forward_to(origin.parse().unwrap())).await;
    assert_eq!(status(&get(front, "x-id: first\r\n").await), "200");
    allowed.store(false, Ordering::SeqCst);
    assert_eq!(status(&get(front, "x-id: second\r\n").await), "502");
    assert_eq!(server.accepted(), 1, "it was not dialled again");
    allowed.store(true, Ordering::SeqCst);
    trial.over([server]).await;
}

/// What an upstream was asked for.
type Asked = Arc<Mutex<Vec<Received>>>;

/// Sends on to the URI that the query is, if there is one.
async fn send_on<S>(mut peer: Peer<S>, asked: Asked) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(request) = peer.request().await? {
        let answer = match request.path().strip_prefix("/to?") {
            Some(uri) => {
                format!("HTTP/1.1 302 Found\r\nlocation: {uri}\r\ncontent-length: 0\r\n\r\n").into()
            }
            None => sized(request.id()),
        };
        asked.lock().unwrap().push(request);
        peer.write(answer).await?;
    }
    Ok(())
}

async fn sending_on(trial: &Trial) -> (Server, Asked) {
    let asked = Asked::default();
    let record = asked.clone();
    let server = trial.server(move |peer| send_on(peer, record.clone()));
    (server.await, asked)
}

/// What comes of a GET whose redirects are followed.
async fn follow(trial: &Trial, uri: String) -> Result<String, Error> {
    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .service(trial.upstream.clone());
    let request = trial.name(Request::get(uri));
    let request = CREDENTIALS
        .iter()
        .fold(request, |request, name| request.header(*name, "secret"));
    let response = client.oneshot(request.body(String::new()).unwrap()).await?;
    response.into_body().text(1000).await
}

const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

#[tokio::test]
async fn i6_a_redirect_to_an_address_inside_is_not_dialled() {
    let outside = |address: &IpAddr| *address == Ipv4Addr::LOCALHOST;
    let trial = Trial::start(faults::builder().allow_addresses(outside)).await;
    let (server, asked) = sending_on(&trial).await;
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let inside = Server::start_on(listener, echo::serve);
    for uri in [inside.uri("/"), "http://169.254.169.254/latest/".to_owned()] {
        let error = follow(&trial, server.uri(&format!("/to?{uri}"))).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TargetDenied, "{uri}");
    }
    assert_eq!(asked.lock().unwrap().len(), 2, "each was sent there");
    assert_eq!(inside.accepted(), 0, "not one SYN");
    drop(inside);
    trial.over([server]).await;
}

/// Which requests of these took credentials along.
fn with_credentials(asked: &Asked) -> Vec<bool> {
    let took = |request: &Received| {
        let of_three: Vec<_> = CREDENTIALS
            .map(|name| request.header(name).is_some())
            .into();
        assert!(
            of_three.iter().all(|one| *one == of_three[0]),
            "{}",
            request.head
        );
        of_three[0]
    };
    std::mem::take(&mut *asked.lock().unwrap())
        .iter()
        .map(took)
        .collect()
}

#[tokio::test]
async fn i11_credentials_stay_with_their_origin_and_do_not_come_back_to_it() {
    let trial = Trial::start(faults::builder()).await;
    let ((here, at_home), (there, abroad)) = (sending_on(&trial).await, sending_on(&trial).await);
    let end = here.uri("/end");
    follow(&trial, here.uri(&format!("/to?{end}")))
        .await
        .unwrap();
    assert_eq!(
        with_credentials(&at_home),
        [true, true],
        "where they belong"
    );
    let back = there.uri(&format!("/to?{end}"));
    follow(&trial, here.uri(&format!("/to?{back}")))
        .await
        .unwrap();
    assert_eq!(with_credentials(&abroad), [false], "another port");
    assert_eq!(with_credentials(&at_home), [true, false], "not restored");
    trial.over([here, there]).await;
}

#[tokio::test]
async fn i11_credentials_do_not_leave_tls() {
    let authority = Authority::new("localhost");
    let trial = Trial::start(faults::builder().tls(authority.trusting)).await;
    let asked = Asked::default();
    let server =
        trial.server({
            let (asked, acceptor) = (asked.clone(), TlsAcceptor::from(authority.server));
            move |peer| {
                let (asked, acceptor) = (asked.clone(), acceptor.clone());
                async move {
                    send_on(peer.through(|stream| acceptor.accept(stream)).await?, asked).await
                }
            }
        });
    let safe = server.await.over_tls();
    let (open, in_the_open) = sending_on(&trial).await;
    let end = format!("http://localhost:{}/end", open.address.port());
    follow(&trial, safe.uri(&format!("/to?{end}")))
        .await
        .unwrap();
    assert_eq!(with_credentials(&asked), [true]);
    assert_eq!(with_credentials(&in_the_open), [false]);
    trial.over([safe, open]).await;
}
