//! TLS over TCP, by rustls.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use rustls_platform_verifier::Verifier;
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
    alpn: &'static [&'static [u8]],
}

/// What the builder was told of TLS.
#[derive(Debug, Default)]
pub(crate) struct TlsSettings {
    pub(crate) config: Option<ClientConfig>,
    /// Authorities to trust beside the platform's.
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

impl TlsSettings {
    pub(crate) fn is_set(&self) -> bool {
        self.config.is_some() || !self.roots.is_empty()
    }
}

impl Tls {
    /// `alpn` are the protocols to offer, the preferred one first.
    pub(crate) fn new(
        settings: TlsSettings,
        alpn: &'static [&'static [u8]],
    ) -> Result<Self, Error> {
        let TlsSettings { config, roots } = settings;
        let cell = OnceLock::new();
        match config {
            Some(_) if !roots.is_empty() => {
                return Err(Error::config(
                    "root_certificates are set beside tls, which has a verifier of its own: \
                     add them to that",
                ));
            }
            Some(config) => drop(cell.set(Ok(with_alpn(config, alpn)))),
            None if roots.is_empty() => {}
            // Now, so that one that cannot be read is told of now.
            None => drop(cell.set(Ok(platform(roots, alpn)?))),
        }
        Ok(Self { config: cell, alpn })
    }

    pub(super) async fn handshake(
        &self,
        origin: &Origin,
        wire: Wire,
    ) -> Result<TlsStream<Wire>, Error> {
        let config = self
            .config
            .get_or_init(|| platform(Vec::new(), self.alpn))
            .clone()?;
        let host = origin.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|source| {
            Error::new(ErrorKind::InvalidTarget)
                .with_detail(format!(
                    "{host:?} is not a name that a certificate can have"
                ))
                .with_source(source)
        })?;
        let stream = TlsConnector::from(config).connect(name, wire).await;
        stream.map_err(error)
    }
}

fn with_alpn(mut config: ClientConfig, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// The platform's verifier with ring, whatever provider the process may have installed.
fn platform(
    roots: Vec<CertificateDer<'static>>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = if roots.is_empty() {
        Verifier::new(provider.clone())
    } else {
        Verifier::new_with_extra_roots(roots, provider.clone())
    };
    let config = verifier.and_then(|verifier| {
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth())
    });
    config
        .map(|config| with_alpn(config, alpn))
        .map_err(|source| {
            Error::config("the certificates to trust could not be read").with_source(source)
        })
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
