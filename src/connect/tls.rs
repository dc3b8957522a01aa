//! TLS over TCP, by rustls.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{classify, tcp::Wire};
use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
};

pub(crate) struct Tls {
    /// The builder's, or the platform's, which is made when it is first needed: reading the
    /// system's certificates takes a while, and a machine that has none can still call http.
    config: OnceLock<Result<Arc<ClientConfig>, Error>>,
}

impl Tls {
    pub(crate) fn new(config: Option<ClientConfig>) -> Self {
        let cell = OnceLock::new();
        if let Some(mut config) = config {
            config.alpn_protocols = alpn();
            cell.get_or_init(|| Ok(Arc::new(config)));
        }
        Self { config: cell }
    }

    pub(super) async fn handshake(
        &self,
        origin: &Origin,
        wire: Wire,
    ) -> Result<TokioIo<TlsStream<Wire>>, Error> {
        let config = self.config.get_or_init(platform).clone()?;
        let host = origin.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|source| {
            Error::new(ErrorKind::InvalidTarget)
                .with_detail(format!(
                    "{host:?} is not a name that a certificate can have"
                ))
                .with_source(source)
        })?;
        let stream = TlsConnector::from(config).connect(name, wire).await;
        Ok(TokioIo::new(stream.map_err(error)?))
    }
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec()]
}

/// The platform's verifier with ring, whatever provider the process may have installed.
fn platform() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|source| {
            Error::new(ErrorKind::TlsCertificate)
                .with_detail("the system's certificates could not be read")
                .with_source(source)
        })?;
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = alpn();
    Ok(Arc::new(config))
}

fn error(error: io::Error) -> Error {
    let tls = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>());
    let kind = match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            ErrorKind::TlsCertificate
        }
        Some(rustls::Error::AlertReceived(_)) => ErrorKind::TlsAlert,
        Some(_) => ErrorKind::Tls,
        None if error.kind() == io::ErrorKind::UnexpectedEof => ErrorKind::Tls,
        None => return classify(error.into()),
    };
    Error::new(kind).with_source(error)
}
