//! https by rustls, and what can go wrong with it.

use std::{sync::Arc, time::Duration};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio_rustls::TlsAcceptor;
use tower_upstream::{ErrorKind, Limits, Phase, Upstream};

use crate::support::{Peer, Server, eventually, sized, sockets};

/// An authority of our own, and a server certificate for `name` from it.
pub(crate) struct Authority {
    pub(crate) trusting: ClientConfig,
    pub(crate) server: Arc<ServerConfig>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);

        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self {
            trusting: trusting(roots),
            server: showing(&certificate, &key),
            issuer,
        }
    }

    /// A server with another certificate from here.
    pub(crate) fn issue(&self, params: &CertificateParams) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        showing(&params.signed_by(&key, &self.issuer).unwrap(), &key)
    }

    /// A server that says "x" to every request.
    pub(crate) async fn serve(&self) -> Server {
        let acceptor = TlsAcceptor::from(self.server.clone());
        Server::start(move |peer: Peer| {
            let acceptor = acceptor.clone();
            async move {
                let mut peer = peer.through(|stream| acceptor.accept(stream)).await?;
                while peer.request().await?.is_some() {
                    peer.write(sized("x")).await?;
                }
                Ok(())
            }
        })
        .await
    }
}

/// A client that trusts these.
pub(crate) fn trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A server that shows this certificate.
pub(crate) fn showing(certificate: &Certificate, key: &KeyPair) -> Arc<ServerConfig> {
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.unwrap())
}

fn uri(server: &Server) -> String {
    format!("https://localhost:{}/", server.address.port())
}

fn upstream(tls: ClientConfig) -> Upstream {
    let limits = Limits::new().max_connections(1);
    let builder = Upstream::builder().limits(limits).tls(tls);
    builder.build().unwrap()
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_and_its_connection_reused() {
    let authority = Authority::new("localhost");
    let server = authority.serve().await;
    let upstream = upstream(authority.trusting);
    for _ in 0..5 {
        let response = upstream.get(uri(&server)).await.unwrap();
        assert_eq!(response.into_body().text(10).await.unwrap(), "x");
    }
    assert_eq!(upstream.stats().opened, 1);
    upstream.drain(Duration::from_secs(1)).await;
    assert_eq!(sockets::connected_to(server.address), 0);
}

#[track_caller]
fn assert_failed(error: &tower_upstream::Error, kind: ErrorKind) {
    assert_eq!(
        (error.kind(), error.phase()),
        (kind, Some(Phase::Connect)),
        "{error:?}"
    );
    assert!(!error.was_sent());
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_accepted() {
    let server = Authority::new("localhost").serve().await;
    let upstream = upstream(Authority::new("localhost").trusting);
    let error = upstream.get(uri(&server)).await.unwrap_err();
    assert_failed(&error, ErrorKind::TlsCertificate);
    eventually("the slot is free", || upstream.stats().total.open == 0).await;
    assert_eq!(sockets::connected_to(server.address), 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_accepted() {
    let authority = Authority::new("other.test");
    let server = authority.serve().await;
    let error = upstream(authority.trusting).get(uri(&server)).await;
    assert_failed(&error.unwrap_err(), ErrorKind::TlsCertificate);
}

#[tokio::test]
async fn an_answer_in_plain_text_is_a_failed_handshake() {
    let server =
        Server::start(
            |mut peer| async move { peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await },
        )
        .await;
    let upstream = upstream(Authority::new("localhost").trusting);
    let error = upstream.get(uri(&server)).await.unwrap_err();
    assert_failed(&error, ErrorKind::Tls);
    eventually("the slot is free", || upstream.stats().total.open == 0).await;
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_handshake() {
    let server = Server::start(|peer| async move {
        drop(peer);
        Ok(())
    })
    .await;
    let upstream = upstream(Authority::new("localhost").trusting);
    let error = upstream.get(uri(&server)).await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Connect), "{error:?}");
    assert!(
        matches!(error.kind(), ErrorKind::Tls | ErrorKind::Connect),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_the_handshake_is_a_connect_timeout() {
    let server = Server::start(|mut peer| async move {
        peer.closed().await;
        Ok(())
    })
    .await;
    let upstream = Upstream::builder()
        .tls(Authority::new("localhost").trusting)
        .timeouts(tower_upstream::Timeouts::default().connect(Duration::from_millis(200)))
        .build()
        .unwrap();
    let error = upstream.get(uri(&server)).await.unwrap_err();
    assert_failed(&error, ErrorKind::ConnectTimeout);
    eventually("its socket is closed", || server.open() == 0).await;
}
