//! Upgrades (RFC 9110 §7.8): offered by the client, taken up by the upstream, and from then on a
//! tunnel.

use std::pin::pin;

use futures_util::future::{select, try_join};
use http::{
    HeaderMap, HeaderValue, Version,
    header::{CONNECTION, UPGRADE},
    request,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::list;
use crate::upstream::Tunnel;

/// What a client would like to speak instead.
pub(super) struct Offer {
    protocols: HeaderValue,
    client: OnUpgrade,
    /// From before the request is sent, so that no drain overlooks it.
    tunnel: Tunnel,
}

impl Offer {
    /// Takes the offer out of a request that has one. With a body it has none: where that ends and
    /// the new protocol begins is what servers have been confused about.
    pub(super) fn take(
        parts: &mut request::Parts,
        has_body: bool,
        register: impl FnOnce() -> Tunnel,
    ) -> Option<Self> {
        let client = parts.extensions.remove::<OnUpgrade>();
        let may = parts.version == Version::HTTP_11
            && !has_body
            && list::has(&parts.headers, CONNECTION, "upgrade");
        let client = client.filter(|_| may)?;
        let protocols: Vec<_> = list::members(&parts.headers, UPGRADE)
            .filter(|protocol| is_other(protocol))
            .collect();
        if protocols.is_empty() {
            return None;
        }
        Some(Self {
            protocols: protocols.join(", ").try_into().ok()?,
            client,
            tunnel: register(),
        })
    }

    /// Makes the same offer to the upstream.
    pub(super) fn make(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocols.clone());
    }

    /// What the upstream has changed to, if that was offered.
    pub(super) fn accepted(&self, response: &HeaderMap) -> Option<HeaderValue> {
        let protocols = self.protocols.to_str().unwrap_or_default();
        let is_offered = |protocol: &str| {
            let mut offered = protocols.split(", ");
            offered.any(|offered| offered.eq_ignore_ascii_case(protocol))
        };
        let accepted = response.get(UPGRADE)?;
        let is_accepted = list::members(response, UPGRADE).all(is_offered);
        is_accepted.then(|| accepted.clone())
    }

    /// Passes everything on, both ways, once the client has its response: until either side ends or
    /// fails, or the handle is drained.
    pub(super) async fn tunnel(self, upstream: OnUpgrade) {
        let Self {
            client, mut tunnel, ..
        } = self;
        let pass_on = pin!(async {
            if let Ok((client, upstream)) = try_join(client, upstream).await {
                copy(client, upstream).await;
            }
        });
        select(pass_on, pin!(tunnel.ended())).await;
    }
}

async fn copy(client: Upgraded, upstream: Upgraded) {
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    // How it ended is between the two: each has seen it.
    let _ = copy_bidirectional(&mut client, &mut upstream).await;
}

/// Whether a protocol is another than those that this proxy speaks: through an upgrade to HTTP
/// itself, requests would pass that nobody has looked at.
fn is_other(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    !["http", "h2c", "h2", "tls"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}
