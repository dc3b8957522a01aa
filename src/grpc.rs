//! How long a gRPC call may still take.

use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request};
use tokio::time::Instant;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// As good as never: some clocks cannot tell of much later times.
const FAR_OFF: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The longest number that the field may hold.
const MAX_VALUE: u128 = 99_999_999;

/// The units of the field, the finest first, in nanoseconds.
const UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60_000_000_000),
    ('H', 3_600_000_000_000),
];

/// When a gRPC call must be over, as its client has said by `grpc-timeout`.
///
/// An [`Upstream`](crate::Upstream) honours it: a gRPC request that carries one as the field, or any
/// request that has one in its extensions, is over by then, the response's body included (as
/// [`ErrorKind::TotalTimeout`](crate::ErrorKind::TotalTimeout)), and a gRPC request is sent with what
/// is left of it after the wait for a connection. Of several, the earliest counts.
///
/// What a server was called with does not pass to the calls it makes by itself. [`note`](Self::note),
/// in front of everything that may wait, starts the clock; the handler puts what it has noted into
/// the extensions of its own requests:
///
/// ```
/// use std::time::Duration;
///
/// use http::Request;
/// use tower::{Layer, util::MapRequestLayer};
/// use tower_upstream::GrpcDeadline;
///
/// // In a server's stack, such as tonic's `Server::builder().layer(..)`.
/// # fn layer<S>() -> impl Layer<S> {
/// MapRequestLayer::new(GrpcDeadline::note::<tonic::body::Body>)
/// # }
///
/// // In the handler.
/// # let incoming = GrpcDeadline::note(Request::builder().header("grpc-timeout", "5S").body(()).unwrap());
/// # let incoming = tonic::Request::from_http(incoming);
/// let mut outgoing = tonic::Request::new("message");
/// if let Some(deadline) = incoming.extensions().get::<GrpcDeadline>() {
///     outgoing.extensions_mut().insert(*deadline);
/// }
/// # let deadline = outgoing.extensions().get::<GrpcDeadline>().unwrap();
/// # assert!(deadline.left() <= Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcDeadline {
    at: Instant,
}

impl GrpcDeadline {
    /// So long from now.
    #[must_use]
    pub fn after(left: Duration) -> Self {
        let now = Instant::now();
        let at = now.checked_add(left).unwrap_or_else(|| now + FAR_OFF);
        Self { at }
    }

    /// What these headers say, from now. `None` if they say nothing, or nothing that is right.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let timeout = parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)?;
        Some(Self::after(timeout))
    }

    /// Puts what a request's headers say into its extensions: for tower's
    /// [`MapRequestLayer`](tower::util::MapRequestLayer).
    #[must_use]
    pub fn note<B>(mut request: Request<B>) -> Request<B> {
        if let Some(deadline) = Self::from_headers(request.headers()) {
            request.extensions_mut().insert(deadline);
        }
        request
    }

    /// How long it is until then; zero once that has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn at(self) -> Instant {
        self.at
    }

    /// That of a request which is about to be sent.
    pub(crate) fn of_call(headers: &HeaderMap, extensions: &Extensions) -> Option<Self> {
        let stated = is_grpc(headers).then(|| Self::from_headers(headers));
        let noted = extensions.get().copied();
        [stated.flatten(), noted].into_iter().flatten().min()
    }

    /// Tells the upstream of a gRPC call what is left.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        if is_grpc(headers) {
            headers.insert(GRPC_TIMEOUT, format(self.left()));
        }
    }
}

/// gRPC proper: gRPC-Web is HTTP like any other.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// At most eight digits, and a unit.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    let (_, nanos) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let is_number = matches!(digits.len(), 1..=8) && digits.bytes().all(|b| b.is_ascii_digit());
    let value: u128 = digits.parse().ok().filter(|_| is_number)?;
    let nanos = value * nanos;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, rest))
}

/// In the finest unit that can hold it, and no more than it is.
fn format(left: Duration) -> HeaderValue {
    // Zero is no timeout, and the shortest there is has passed when it is read.
    let nanos = left.as_nanos().max(1);
    let fits = |(_, unit): &(char, u128)| nanos / unit <= MAX_VALUE;
    let (name, unit) = UNITS.into_iter().find(fits).unwrap_or(UNITS[5]);
    let value = (nanos / unit).min(MAX_VALUE);
    // Digits and a letter are a value.
    HeaderValue::try_from(format!("{value}{name}"))
        .unwrap_or_else(|_| HeaderValue::from_static("1n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_read_as_grpc_defines_it() {
        for (text, duration) in [
            ("1n", Duration::from_nanos(1)),
            ("20u", Duration::from_micros(20)),
            ("300m", Duration::from_millis(300)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("2M", Duration::from_secs(120)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(text), Some(duration), "{text}");
        }
        for text in [
            "",
            "S",
            "1",
            "1s",
            "123456789S",
            "+1S",
            "-1S",
            "1.5S",
            "1 S",
            "1é",
        ] {
            assert_eq!(parse(text), None, "{text:?} is no timeout");
        }
    }

    #[test]
    fn what_is_left_is_told_to_the_nearest_unit_below() {
        for (left, text) in [
            (Duration::ZERO, "1n"),
            (Duration::from_millis(1), "1000000n"),
            (Duration::from_nanos(999_999_999), "999999u"),
            (Duration::from_secs(5), "5000000u"),
            (Duration::from_secs(3600), "3600000m"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(format(left), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_counts_and_only_grpc_is_told() {
        let mut request = Request::builder()
            .header("content-type", "application/grpc+proto")
            .header("grpc-timeout", "9S")
            .body(())
            .unwrap();
        request
            .extensions_mut()
            .insert(GrpcDeadline::after(Duration::from_secs(3)));
        tokio::time::advance(Duration::from_secs(1)).await;
        let (mut parts, ()) = request.into_parts();
        let deadline = GrpcDeadline::of_call(&parts.headers, &parts.extensions).unwrap();
        assert_eq!(deadline.left(), Duration::from_secs(2));
        deadline.tell(&mut parts.headers);
        assert_eq!(parts.headers[GRPC_TIMEOUT], "2000000u", "what is left");

        let mut plain = HeaderMap::new();
        plain.insert(GRPC_TIMEOUT, HeaderValue::from_static("1S"));
        let stated = GrpcDeadline::of_call(&plain, &Extensions::new());
        assert_eq!(stated, None, "in another request the field has no meaning");
        deadline.tell(&mut plain);
        assert_eq!(plain[GRPC_TIMEOUT], "1S");
        assert!(
            GrpcDeadline::after(Duration::MAX).left() >= FAR_OFF,
            "never overflows"
        );
    }
}
