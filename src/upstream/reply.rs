//! What a response's head says beside its status: whether it is an answer at all, whether its
//! connection can serve again after it, and for how long that is kept.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// An upstream that keeps a connection for so long is not sent a request in the last part of it.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// What a request allows its answer to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    switch: bool,
}

/// What an answer says of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    /// Whether the connection can serve again once the answer has been read: its end must be told by
    /// the answer itself, and the upstream must not have asked to close (RFC 9112 §9.3).
    pub(super) reusable: bool,
    /// How long the upstream says it keeps an idle connection, less a margin for what is on its way.
    pub(super) keep_for: Option<Duration>,
}

impl Allowed {
    pub(super) fn by(request: &HeaderMap) -> Self {
        Self {
            switch: request.contains_key(UPGRADE),
        }
    }

    /// What the head says; or, if it is no answer, what is wrong with it. What comes behind that is
    /// not to be trusted.
    pub(super) fn read<B>(self, head: &Response<B>) -> Result<Reply, &'static str> {
        if head.status() == StatusCode::SWITCHING_PROTOCOLS && !self.switch {
            return Err("it has changed to a protocol that was not offered");
        }
        if head.version() == Version::HTTP_2 {
            // Streams are framed by their own rules.
            return Ok(Reply {
                reusable: true,
                keep_for: None,
            });
        }
        let (mut has_length, mut codings, mut closes, mut keep_for) = (false, 0, false, None);
        let mut is_chunked = false;
        // One look at each costs less than a search for each.
        for (name, value) in head.headers() {
            if *name == CONTENT_LENGTH {
                has_length = true;
            } else if *name == TRANSFER_ENCODING {
                for coding in value.as_bytes().split(|&byte| byte == b',') {
                    codings += 1;
                    is_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
                }
            } else if *name == CONNECTION {
                closes |= has_close(value);
            } else if *name == KEEP_ALIVE && keep_for.is_none() {
                keep_for = timeout(value);
            }
        }
        if codings > 0 && has_length {
            // RFC 9112 §6.3: who sends both may want two readers to find two ends.
            return Err("it has a length beside its transfer coding");
        }
        if codings > 0 && !(is_chunked && codings == 1) {
            // hyper undoes the one coding that may come unasked (RFC 9112 §7.4), and would pass the
            // content on as it is under any other.
            return Err("its transfer coding is not chunked alone");
        }
        Ok(Reply {
            reusable: (has_length || codings > 0) && !closes,
            keep_for,
        })
    }
}

fn has_close(value: &HeaderValue) -> bool {
    let mut options = value.as_bytes().split(|&byte| byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

fn timeout(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        is_timeout.then(|| value.trim().parse().ok())?
    })?;
    Some(Duration::from_secs(seconds).saturating_sub(KEEP_ALIVE_MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&'static str, &'static str)]) -> Result<Reply, &'static str> {
        let mut head = Response::new(());
        for &(name, value) in lines {
            let name = HeaderName::from_static(name);
            head.headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        Allowed { switch: false }.read(&head)
    }

    #[test]
    fn a_connection_serves_again_if_the_end_is_told_and_nobody_asks_to_close() {
        for (lines, reusable) in [
            (&[][..], false),
            (&[("content-length", "3")], true),
            (&[("transfer-encoding", "Chunked")], true),
            (
                &[("content-length", "3"), ("connection", "x, Close ")],
                false,
            ),
            (&[("content-length", "3"), ("connection", "closed")], true),
            (
                &[
                    ("connection", "a"),
                    ("connection", "close"),
                    ("content-length", "3"),
                ],
                false,
            ),
        ] {
            assert_eq!(read(lines).unwrap().reusable, reusable, "{lines:?}");
        }
    }

    #[test]
    fn an_idle_connection_is_kept_for_a_little_less_than_its_upstream_says() {
        for (value, keep_for) in [
            ("timeout=5", Some(4)),
            ("max=100, Timeout = 60", Some(59)),
            ("timeout=0", Some(0)),
            ("timeout", None),
            ("timeout=soon", None),
        ] {
            let reply = read(&[("keep-alive", value)]).unwrap();
            assert_eq!(reply.keep_for, keep_for.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_length_beside_a_coding_or_another_coding_than_chunked_alone_is_no_answer() {
        for (lines, says) in [
            (
                &[("content-length", "3"), ("transfer-encoding", "chunked")][..],
                "a length beside",
            ),
            (
                &[("transfer-encoding", "gzip, chunked")],
                "not chunked alone",
            ),
            (&[("transfer-encoding", "chunked, chunked")], "not chunked"),
            (
                &[
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                "not chunked alone",
            ),
            (&[("transfer-encoding", "")], "not chunked alone"),
        ] {
            let fault = read(lines).unwrap_err();
            assert!(fault.contains(says), "{lines:?}: {fault}");
        }
    }
}
