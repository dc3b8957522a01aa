//! Group B: TLS.

use std::{io, sync::Arc};

use futures_util::future::join_all;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower_upstream::{ErrorKind, Phase, UpstreamBuilder};

use super::{SHORT, assert_failed, assert_unsent, builder, patient};
use crate::{
    support::{Peer, Server, echo, sized, trial::Trial},
    tls::{Authority, showing},
};

type Tls = Peer<TlsStream<TcpStream>>;

async fn accept(peer: Peer, config: &Arc<ServerConfig>) -> io::Result<Tls> {
    let acceptor = TlsAcceptor::from(config.clone());
    peer.through(|stream| acceptor.accept(stream)).await
}

/// Serves what ALPN has settled on.
async fn serve(peer: Tls) -> io::Result<()> {
    if peer.stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return echo::serve_http2(peer).await;
    }
    echo::serve(peer).await
}

fn trusting(authority: &Authority) -> UpstreamBuilder {
    builder().tls(authority.trusting.clone())
}

/// A server whose first connection meets with this, and every other with what it should.
async fn first<F, Fut>(trial: &Trial, authority: &Authority, script: F) -> Server
where
    F: Fn(Peer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    let config = authority.server.clone();
    let server = trial.server(move |peer| {
        let (config, script) = (config.clone(), script.clone());
        async move {
            if peer.number == 0 {
                peer.fault();
                return script(peer).await;
            }
            serve(accept(peer, &config).await?).await
        }
    });
    server.await.over_tls()
}

/// The handshake with a server that shows this certificate at first.
async fn assert_not_accepted(authority: Authority, shown: Arc<ServerConfig>) {
    let trial = Trial::start(trusting(&authority)).await;
    let server = first(&trial, &authority, move |peer| {
        let shown = shown.clone();
        async move { serve(accept(peer, &shown).await?).await }
    })
    .await;
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::TlsCertificate, Phase::Connect, 502, 14);
    assert_unsent(&error);
    assert_eq!(server.requests(), 0, "it was shown no byte of a request");
    trial.over([server]).await;
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

#[tokio::test]
async fn b1_a_certificate_that_has_expired_is_not_accepted() {
    let authority = Authority::new("localhost");
    let mut expired = named("localhost");
    expired.not_before = date_time_ymd(2000, 1, 1);
    expired.not_after = date_time_ymd(2001, 1, 1);
    let shown = authority.issue(&expired);
    assert_not_accepted(authority, shown).await;
}

#[tokio::test]
async fn b2_a_certificate_for_another_name_is_not_accepted() {
    let authority = Authority::new("localhost");
    let shown = authority.issue(&named("other.test"));
    assert_not_accepted(authority, shown).await;
}

#[tokio::test]
async fn b3_a_certificate_that_signs_itself_is_not_accepted() {
    let key = KeyPair::generate().unwrap();
    let shown = showing(&named("localhost").self_signed(&key).unwrap(), &key);
    assert_not_accepted(Authority::new("localhost"), shown).await;
}

#[tokio::test]
async fn b4_a_certificate_of_an_authority_that_nobody_knows_is_not_accepted() {
    let shown = Authority::new("localhost").server;
    assert_not_accepted(Authority::new("localhost"), shown).await;
}

#[tokio::test]
async fn b5_an_answer_before_the_handshake_is_no_answer() {
    let authority = Authority::new("localhost");
    let trial = Trial::start(trusting(&authority)).await;
    let server = first(&trial, &authority, |mut peer| async move {
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nhunter2")
            .await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::Tls, Phase::Connect, 502, 14);
    assert_unsent(&error);
    trial.over([server]).await;
}

#[tokio::test]
async fn b6_a_handshake_that_stalls_is_a_connect_timeout() {
    let authority = Authority::new("localhost");
    let builder = trusting(&authority).timeouts(patient().connect(SHORT));
    let trial = Trial::start(builder).await;
    let server = first(&trial, &authority, |mut peer| async move {
        peer.closed().await;
        Ok(())
    })
    .await;
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::ConnectTimeout, Phase::Connect, 504, 14);
    assert_unsent(&error);
    trial.over([server]).await;
}

/// What fifty callers at once get of a server that offers these protocols.
async fn fifty(
    offers: &[&[u8]],
    wants: impl FnOnce(UpstreamBuilder) -> UpstreamBuilder,
) -> Result<usize, ErrorKind> {
    let authority = Authority::new("localhost");
    let trial = Trial::start(wants(trusting(&authority))).await;
    let mut config = (*authority.server).clone();
    config.alpn_protocols = offers.iter().map(|name| name.to_vec()).collect();
    let config = Arc::new(config);
    let server = trial
        .server(move |peer| {
            let config = config.clone();
            async move { serve(accept(peer, &config).await?).await }
        })
        .await
        .over_tls();
    let answers = join_all((0..50).map(|_| trial.get(server.uri("/")))).await;
    let kinds: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.map(drop).map_err(|error| error.kind()))
        .collect();
    assert!(
        kinds.iter().all(|kind| *kind == kinds[0]),
        "all fare alike: {kinds:?}"
    );
    let result = kinds[0].map(|()| server.accepted());
    trial.over(result.is_ok().then_some(server)).await;
    result
}

#[tokio::test]
async fn b7_what_is_spoken_is_what_both_can_and_fifty_at_once_fare_alike() {
    let http1: &[u8] = b"http/1.1";
    let http2: &[u8] = b"h2";
    for offers in [&[][..], &[http1], &[http1, http2], &[http2]] {
        // What is spoken is not known before there is a connection, so there may be two of HTTP/2.
        let connections = fifty(offers, |builder| builder).await.unwrap();
        let least = if offers.contains(&http2) { 1 } else { 2 };
        assert!((least..=2).contains(&connections), "{connections}");
    }
    for offers in [&[][..], &[http1], &[http1, http2]] {
        assert_eq!(fifty(offers, UpstreamBuilder::http1_only).await, Ok(2));
    }
    let only = fifty(&[http2], UpstreamBuilder::http1_only).await;
    assert_eq!(only, Err(ErrorKind::TlsAlert), "there is nothing in common");
    let only = fifty(&[http1], UpstreamBuilder::http2_prior_knowledge).await;
    assert_eq!(only, Err(ErrorKind::TlsAlert), "there is nothing in common");
}

#[tokio::test]
async fn b8_a_farewell_in_the_middle_of_the_handshake_ends_it() {
    let authority = Authority::new("localhost");
    let trial = Trial::start(trusting(&authority)).await;
    let server = first(&trial, &authority, |mut peer| async move {
        // An alert of TLS 1.2's record layer: a warning that says close_notify.
        peer.write([21, 3, 3, 0, 2, 1, 0]).await?;
        peer.stream.shutdown().await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::Tls, Phase::Connect, 502, 14);
    assert_unsent(&error);
    trial.over([server]).await;
}

#[tokio::test]
async fn b9_a_body_until_the_end_of_tls_is_whole_only_when_tls_says_so() {
    let authority = Authority::new("localhost");
    let trial = Trial::start(trusting(&authority)).await;
    let config = authority.server.clone();
    let server = trial
        .server(move |peer| {
            let config = config.clone();
            async move {
                let mut peer = accept(peer, &config).await?;
                while let Some(request) = peer.request().await? {
                    if !request.path().starts_with("/until-the-end") {
                        peer.write(sized(request.id())).await?;
                        continue;
                    }
                    peer.fault();
                    peer.write("HTTP/1.1 200 OK\r\n\r\nhalf").await?;
                    peer.stream.flush().await?;
                    if request.path().contains("/said") {
                        peer.stream.shutdown().await?;
                    } else {
                        // Only TCP comes to its end.
                        peer.stream.get_mut().0.shutdown().await?;
                    }
                    peer.closed().await;
                    break;
                }
                Ok(())
            }
        })
        .await
        .over_tls();
    let whole = trial.get(server.uri("/until-the-end/said")).await;
    assert_eq!(whole.unwrap(), "half");
    let error = trial.fails(server.uri("/until-the-end")).await;
    assert_failed(&error, ErrorKind::BodyIncomplete, Phase::Read, 502, 14);
    trial.over([server]).await;
}

#[tokio::test]
async fn b10_handles_with_different_identities_share_no_connection() {
    let authority = Authority::new("localhost");
    let trial = Trial::start(trusting(&authority)).await;
    let other = trusting(&authority).build().unwrap();
    let acceptor = authority.server.clone();
    let server = trial
        .server(move |peer| {
            let acceptor = acceptor.clone();
            async move { serve(accept(peer, &acceptor).await?).await }
        })
        .await
        .over_tls();
    trial.get(server.uri("/")).await.unwrap();
    let request = trial.request("GET", &server.uri("/"));
    let response = other.send(request.body(String::new()).unwrap()).await;
    response.unwrap().into_body().bytes(100).await.unwrap();
    trial.get(server.uri("/")).await.unwrap();
    assert_eq!(server.accepted(), 2, "the identity is the handle's");
    drop(other);
    trial.over([server]).await;
}
