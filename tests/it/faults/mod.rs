//! The fault cases, a file a group, each test named by its case and its sentence. Every one ends in
//! [`Trial::over`](crate::support::trial::Trial::over), which holds for all of them. The table from
//! case to test is in `docs/reliability.md`.

mod connect;
mod ends;
mod head;
mod http2;
mod http2_wire;
mod leaving;
mod pool;
mod tls;
mod trials;

use std::time::Duration;

use http::StatusCode;
use rustls::RootCertStore;
use tower_upstream::{Error, ErrorKind, Limits, Phase, Timeouts, Upstream, UpstreamBuilder};

use crate::{support::trial::CAP, tls::trusting};

/// The timeout that a test is about, where it is about one.
const SHORT: Duration = Duration::from_millis(300);

/// A handle to be, which loses patience late, and trusts nobody: to read whom this machine trusts takes
/// longer than most of these tests.
pub(crate) fn builder() -> UpstreamBuilder {
    any_connector().tls(trusting(RootCertStore::empty()))
}

/// The same for a connector of its own.
pub(crate) fn any_connector() -> UpstreamBuilder {
    Upstream::builder()
        .limits(Limits::new().max_connections(CAP))
        .timeouts(patient())
}

pub(crate) fn patient() -> Timeouts {
    Timeouts::new(Duration::from_secs(50))
}

/// What went wrong, where, and what two kinds of clients are told of it.
#[track_caller]
fn assert_failed(error: &Error, kind: ErrorKind, phase: Phase, status: u16, grpc: i32) {
    assert_eq!(
        (error.kind(), error.phase()),
        (kind, Some(phase)),
        "{error:?}"
    );
    let told = (error.status(), error.grpc_code());
    assert_eq!(told, (StatusCode::from_u16(status).unwrap(), grpc));
}

/// The request is safe to send again.
#[track_caller]
fn assert_unsent(error: &Error) {
    assert!(!error.was_sent(), "nothing of it was sent: {error:?}");
}
