use std::fmt;

use http::StatusCode;

/// What happened. Each kind has one HTTP status, one gRPC code and one error type of
/// [RFC 9209](https://www.rfc-editor.org/rfc/rfc9209#section-2.3):
///
#[doc = include_str!("table.md")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is wrong: the builder, a limit; or there are no certificates to trust.
    Config,
    /// The request cannot be sent: its URI is relative, not http or https, holds credentials, or has a
    /// host or a port that is none; its method is CONNECT; or HTTP cannot carry its head.
    InvalidTarget,
    /// The address filter forbids every address of the target.
    TargetDenied,
    /// No connection came free within the `pool` timeout.
    PoolTimeout,
    /// More requests are waiting for a connection than `max_pending` allows.
    QueueFull,
    /// The handle is draining: it takes no new requests, and aborts the rest at its deadline.
    Draining,
    /// The name could not be looked up.
    Dns,
    /// The connection was not established within the `connect` timeout.
    ConnectTimeout,
    /// The upstream refused the connection.
    ConnectRefused,
    /// There is no route to the upstream.
    Unreachable,
    /// The connection could not be established for another reason.
    Connect,
    /// This process or machine has no file descriptor or port left for another socket.
    OutOfSockets,
    /// The TLS handshake failed, or https was asked for without the feature `rustls`.
    Tls,
    /// The upstream's certificate was not accepted.
    TlsCertificate,
    /// The upstream ended the TLS handshake with an alert.
    TlsAlert,
    /// The upstream took no bytes of the request within the `write` timeout.
    WriteTimeout,
    /// The upstream sent nothing within the `read` timeout.
    ReadTimeout,
    /// The exchange was not over within the `total` timeout.
    TotalTimeout,
    /// The upstream closed the connection before the response's head.
    Closed,
    /// The upstream ended the request's HTTP/2 stream, or its whole connection by a GOAWAY, before
    /// the response's head. Where it says that it has not looked at the request,
    /// [`was_sent`](crate::Error::was_sent) is false.
    Reset,
    /// What the upstream sent is not HTTP, or no valid answer to the request: a 101 that was not asked
    /// for, another transfer coding than `chunked`, a length beside one, a breach of HTTP/2's rules.
    Protocol,
    /// The response's head is larger than is accepted.
    HeadTooLarge,
    /// The response's body is larger than the caller's bound.
    BodyTooLarge,
    /// The response's body broke off before its end.
    BodyIncomplete,
    /// The response's body cannot be read as text: its charset or its coding is not known, it is gRPC
    /// or a part of the whole, or it is not what its coding says. Of a gather's leg.
    Decode,
    /// The request's own body failed.
    RequestBody,
    /// A bug or a panic in this crate, a connector or another hook.
    Internal,
}

/// The part of an exchange in which it failed. Each has a timeout of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a connection.
    Pool,
    /// Looking the name up, connecting, the TLS handshake, and over HTTP/2 the upstream's settings.
    Connect,
    /// Sending the request.
    Write,
    /// Waiting for the response's head, or for the next piece of its body.
    Read,
}

/// What one kind is to the outside: a row of the table.
struct Row {
    http: StatusCode,
    grpc: i32,
    proxy_status: &'static str,
    text: &'static str,
}

impl ErrorKind {
    /// The one table: kind → HTTP status, gRPC code, RFC 9209 §2.3 error type, plain words.
    ///
    /// gRPC: what was never sent is UNAVAILABLE (14), which clients may retry; what timed out after
    /// it was sent is DEADLINE_EXCEEDED (4).
    const fn row(self) -> Row {
        use StatusCode as S;
        let (http, grpc, proxy_status, text) = match self {
            Self::Config => (
                S::INTERNAL_SERVER_ERROR,
                13,
                "proxy_configuration_error",
                "upstream misconfigured",
            ),
            Self::InvalidTarget => (
                S::BAD_REQUEST,
                3,
                "http_request_error",
                "invalid upstream target",
            ),
            Self::TargetDenied => (
                S::BAD_GATEWAY,
                7,
                "destination_ip_prohibited",
                "upstream target not allowed",
            ),
            Self::PoolTimeout => (
                S::SERVICE_UNAVAILABLE,
                14,
                "connection_limit_reached",
                "no upstream connection came free in time",
            ),
            Self::QueueFull => (
                S::SERVICE_UNAVAILABLE,
                14,
                "connection_limit_reached",
                "too many requests are waiting for an upstream connection",
            ),
            Self::Draining => (
                S::SERVICE_UNAVAILABLE,
                14,
                "proxy_internal_response",
                "shutting down",
            ),
            Self::Dns => (
                S::BAD_GATEWAY,
                14,
                "dns_error",
                "upstream name lookup failed",
            ),
            Self::ConnectTimeout => (
                S::GATEWAY_TIMEOUT,
                14,
                "connection_timeout",
                "upstream connect timed out",
            ),
            Self::ConnectRefused => (
                S::BAD_GATEWAY,
                14,
                "connection_refused",
                "upstream refused the connection",
            ),
            Self::Unreachable => (
                S::BAD_GATEWAY,
                14,
                "destination_ip_unroutable",
                "upstream unreachable",
            ),
            Self::Connect => (
                S::BAD_GATEWAY,
                14,
                "destination_unavailable",
                "upstream connect failed",
            ),
            Self::OutOfSockets => (
                S::SERVICE_UNAVAILABLE,
                14,
                "connection_limit_reached",
                "no socket left for an upstream connection",
            ),
            Self::Tls => (
                S::BAD_GATEWAY,
                14,
                "tls_protocol_error",
                "upstream TLS handshake failed",
            ),
            Self::TlsCertificate => (
                S::BAD_GATEWAY,
                14,
                "tls_certificate_error",
                "upstream certificate not accepted",
            ),
            Self::TlsAlert => (
                S::BAD_GATEWAY,
                14,
                "tls_alert_received",
                "upstream ended the TLS handshake",
            ),
            Self::WriteTimeout => (
                S::GATEWAY_TIMEOUT,
                4,
                "connection_write_timeout",
                "upstream write timed out",
            ),
            Self::ReadTimeout => (
                S::GATEWAY_TIMEOUT,
                4,
                "connection_read_timeout",
                "upstream read timed out",
            ),
            Self::TotalTimeout => (
                S::GATEWAY_TIMEOUT,
                4,
                "http_response_timeout",
                "upstream exchange timed out",
            ),
            Self::Closed => (
                S::BAD_GATEWAY,
                14,
                "connection_terminated",
                "upstream closed the connection before it answered",
            ),
            Self::Reset => (
                S::BAD_GATEWAY,
                14,
                "connection_terminated",
                "upstream reset the request",
            ),
            Self::Protocol => (
                S::BAD_GATEWAY,
                13,
                "http_protocol_error",
                "upstream sent an invalid response",
            ),
            Self::HeadTooLarge => (
                S::BAD_GATEWAY,
                13,
                "http_response_header_section_size",
                "upstream response head too large",
            ),
            Self::BodyTooLarge => (
                S::BAD_GATEWAY,
                8,
                "http_response_body_size",
                "upstream response body too large",
            ),
            Self::BodyIncomplete => (
                S::BAD_GATEWAY,
                14,
                "http_response_incomplete",
                "upstream response broke off",
            ),
            Self::Decode => (
                S::BAD_GATEWAY,
                13,
                "http_response_content_coding",
                "upstream response could not be decoded",
            ),
            Self::RequestBody => (
                S::BAD_REQUEST,
                13,
                "http_request_error",
                "request body failed",
            ),
            Self::Internal => (
                S::INTERNAL_SERVER_ERROR,
                13,
                "proxy_internal_error",
                "internal error",
            ),
        };
        Row {
            http,
            grpc,
            proxy_status,
            text,
        }
    }

    /// The kind's name in lower-case words, as metrics and logs use it: `pool_timeout`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::InvalidTarget => "invalid_target",
            Self::TargetDenied => "target_denied",
            Self::PoolTimeout => "pool_timeout",
            Self::QueueFull => "queue_full",
            Self::Draining => "draining",
            Self::Dns => "dns",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectRefused => "connect_refused",
            Self::Unreachable => "unreachable",
            Self::Connect => "connect",
            Self::OutOfSockets => "out_of_sockets",
            Self::Tls => "tls",
            Self::TlsCertificate => "tls_certificate",
            Self::TlsAlert => "tls_alert",
            Self::WriteTimeout => "write_timeout",
            Self::ReadTimeout => "read_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyIncomplete => "body_incomplete",
            Self::Decode => "decode",
            Self::RequestBody => "request_body",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status a gateway answers with: what RFC 9209 §2.3 recommends for the error's type, but for
    /// `Connect`, which is 502 as the other failures of connecting are.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().http
    }

    /// The gRPC status code, as a number (`14` is UNAVAILABLE).
    #[must_use]
    pub const fn grpc_code(self) -> i32 {
        self.row().grpc
    }

    /// The error type for a `Proxy-Status` header (RFC 9209 §2.3).
    #[must_use]
    pub const fn proxy_status(self) -> &'static str {
        self.row().proxy_status
    }

    /// What is printed of it.
    pub(crate) const fn text(self) -> &'static str {
        self.row().text
    }

    /// Whether a timeout ran out: pool, connect, write, read or total.
    #[must_use]
    pub const fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::PoolTimeout
                | Self::ConnectTimeout
                | Self::WriteTimeout
                | Self::ReadTimeout
                | Self::TotalTimeout
        )
    }
}

/// The kind in plain words, with nothing that a client must not see.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The phase's name, in lower case: that of its timeout's setter.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool",
            Self::Connect => "connect",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_docs_is_the_table() {
        use ErrorKind as K;
        let kinds = [
            K::Config,
            K::InvalidTarget,
            K::TargetDenied,
            K::PoolTimeout,
            K::QueueFull,
            K::Draining,
            K::Dns,
            K::ConnectTimeout,
            K::ConnectRefused,
            K::Unreachable,
            K::Connect,
            K::OutOfSockets,
            K::Tls,
            K::TlsCertificate,
            K::TlsAlert,
            K::WriteTimeout,
            K::ReadTimeout,
            K::TotalTimeout,
            K::Closed,
            K::Reset,
            K::Protocol,
            K::HeadTooLarge,
            K::BodyTooLarge,
            K::BodyIncomplete,
            K::Decode,
            K::RequestBody,
            K::Internal,
        ];
        assert_eq!(kinds.len(), K::Internal as usize + 1, "every kind");
        let rows: Vec<_> = include_str!("table.md").lines().skip(2).collect();
        assert_eq!(rows.len(), kinds.len(), "a row each");
        for (kind, row) in kinds.into_iter().zip(rows) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let [_, name, http, grpc, proxy_status, text, _] = cells[..] else {
                panic!("five cells: {row}")
            };
            assert_eq!(name, format!("[`{kind:?}`](crate::ErrorKind::{kind:?})"));
            assert_eq!(http, kind.status().as_str(), "{row}");
            let code = grpc.split(' ').next();
            assert_eq!(code, Some(&*kind.grpc_code().to_string()), "{row}");
            assert_eq!(proxy_status, format!("`{}`", kind.proxy_status()), "{row}");
            assert_eq!(text, kind.to_string(), "{row}");
        }
    }
}
