//! Upgrades (RFC 9110 §7.8): offered by the client, taken up by the upstream, and from then on a
//! tunnel.

use std::{
    future::pending,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{select, try_join};
use http::{
    HeaderMap, HeaderValue, Version,
    header::{CONNECTION, UPGRADE},
    request,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::copy_bidirectional,
    time::{Instant, sleep_until},
};
use tokio_util::io::InspectReader;

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
    /// fails, both have been silent for so long, or the handle is drained.
    pub(super) async fn tunnel(self, upstream: OnUpgrade, idle_timeout: Option<Duration>) {
        let Self {
            client, mut tunnel, ..
        } = self;
        let pass_on = pin!(async {
            if let Ok((client, upstream)) = try_join(client, upstream).await {
                copy(client, upstream, idle_timeout).await;
            }
        });
        select(pass_on, pin!(tunnel.ended())).await;
    }
}

async fn copy(client: Upgraded, upstream: Upgraded, idle_timeout: Option<Duration>) {
    let heard = Heard(Mutex::new(Instant::now()));
    let mut client = InspectReader::new(TokioIo::new(client), |_| heard.now());
    let mut upstream = InspectReader::new(TokioIo::new(upstream), |_| heard.now());
    let copy = pin!(copy_bidirectional(&mut client, &mut upstream));
    // How it ended is between the two: each has seen it.
    select(copy, pin!(heard.nothing_for(idle_timeout))).await;
}

/// When a byte has last come.
struct Heard(Mutex<Instant>);

impl Heard {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves once nothing has come for so long. Bytes cost it no timer: it looks when they would
    /// have been too late.
    async fn nothing_for(&self, limit: Option<Duration>) {
        while let Some(until) = limit.and_then(|limit| self.last().checked_add(limit)) {
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
        pending::<()>().await;
    }
}

/// Whether a protocol is another than those that this proxy speaks: through an upgrade to HTTP
/// itself, requests would pass that nobody has looked at.
fn is_other(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    !["http", "h2c", "h2", "tls"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}
