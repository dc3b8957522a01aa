//! Where a request's body ends: said once, and truly (RFC 9112 §6).

use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    request::Parts,
};
use http_body::Body;

use super::{answer::Answer, list};

/// Refuses a request about whose end two readers could differ. A server has most of these refused
/// already; a request that was made or changed in this process has passed none.
pub(super) fn check(headers: &mut HeaderMap, body: &impl Body) -> Result<(), Answer> {
    let lengths = headers.get_all(CONTENT_LENGTH).iter();
    let codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.count(), codings.count()) {
        (0, 0) => return Ok(()),
        (0, 1) if is_chunked_alone(headers) => return Ok(()),
        (0, _) => return Err(Answer::bad_request("the transfer coding is not supported")),
        (_, 0) => {}
        (_, _) => {
            return Err(Answer::bad_request(
                "the request has both Content-Length and Transfer-Encoding",
            ));
        }
    }
    let length = content_length(headers).ok_or(Answer::bad_request(
        "the request's Content-Length is not valid",
    ))?;
    if body
        .size_hint()
        .exact()
        .is_some_and(|exact| exact != length)
    {
        return Err(Answer::bad_request(
            "the request's body is not as long as its Content-Length",
        ));
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = list::members(headers, TRANSFER_ENCODING);
    let first = codings.next();
    first.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) && codings.next().is_none()
}

/// The one length that all lines state, in digits and nothing else.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut length = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        for member in line.to_str().ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            let is_number = member.bytes().all(|b| b.is_ascii_digit());
            let stated = member.parse().ok().filter(|_| is_number)?;
            if length.is_some_and(|length| length != stated) {
                return None;
            }
            length = Some(stated);
        }
    }
    length
}

/// Says what hyper leaves unsaid: that there is a body where there seldom is one, which it would not
/// send, and that there is none where one is usual.
pub(super) fn declare(parts: &mut Parts, body: &impl Body) {
    let headers = &mut parts.headers;
    if headers.contains_key(CONTENT_LENGTH) {
        return;
    }
    match parts.method {
        Method::GET | Method::HEAD if body.size_hint().exact().is_none() => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Method::POST | Method::PUT | Method::PATCH if body.is_end_stream() => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;

    fn checked(lines: &[(&'static str, &'static str)], body: &'static str) -> Result<(), Answer> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check(&mut headers, &Full::new(body.as_bytes()))
    }

    #[test]
    fn a_length_is_stated_once_and_is_true() {
        let length = |value| checked(&[("content-length", value)], "hello");
        assert!(length("5").is_ok());
        assert!(
            length("5, 5").is_ok(),
            "the same twice is one (RFC 9110 §8.6)"
        );
        for value in [
            "4",
            "6",
            "+5",
            "-5",
            "",
            "5,",
            "5, 6",
            "0x5",
            "5 5",
            "99999999999999999999",
        ] {
            assert!(length(value).is_err(), "{value:?} is not the length");
        }
        let twice = [("content-length", "5"), ("content-length", "4")];
        assert!(checked(&twice, "hello").is_err());
    }

    #[test]
    fn a_coding_is_chunked_and_stands_alone() {
        let coded = |value| checked(&[("transfer-encoding", value)], "hello");
        assert!(coded("chunked").is_ok());
        assert!(coded("Chunked").is_ok(), "in any case (RFC 9112 §7)");
        for value in [
            "gzip, chunked",
            "identity",
            "chunked, chunked",
            "xchunked",
            "chunked;a",
        ] {
            assert!(coded(value).is_err(), "{value:?} is not understood");
        }
        let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
        assert!(checked(&both, "hello").is_err());
    }

    /// What is said of a body where nothing was: its length, and its coding.
    fn declared(
        method: &Method,
        lines: &[(&'static str, &'static str)],
        body: &impl Body,
    ) -> [Option<String>; 2] {
        let mut request = Request::builder().method(method);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        declare(&mut parts, body);
        let value = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        [CONTENT_LENGTH, TRANSFER_ENCODING].map(|name| parts.headers.get(name).map(value))
    }

    fn stream() -> impl Body {
        StreamBody::new(futures_util::stream::empty::<
            Result<http_body::Frame<Bytes>, std::io::Error>,
        >())
    }

    #[test]
    fn a_body_of_unknown_length_where_there_seldom_is_one_is_chunked() {
        for method in [Method::GET, Method::HEAD] {
            let [length, coding] = declared(&method, &[], &stream());
            assert_eq!(length, None, "{method}: its length is not known");
            assert_eq!(coding.as_deref(), Some("chunked"), "{method}");
            assert_eq!(
                declared(&method, &[], &Full::<Bytes>::from("hello")),
                [None, None],
                "{method}: hyper states a length that is known"
            );
        }
    }

    #[test]
    fn no_body_where_one_is_usual_is_said_to_be_none() {
        for method in [Method::POST, Method::PUT, Method::PATCH] {
            let [length, coding] = declared(&method, &[], &Empty::<Bytes>::new());
            assert_eq!(length.as_deref(), Some("0"), "{method}");
            assert_eq!(coding, None, "{method}");
            assert_eq!(
                declared(&method, &[], &stream()),
                [None, None],
                "{method}: there may be one"
            );
        }
        assert_eq!(
            declared(&Method::GET, &[], &Empty::<Bytes>::new()),
            [None, None],
            "nobody expects a body of a GET"
        );
    }

    #[test]
    fn a_length_that_the_request_states_is_not_declared_again() {
        let stated = [("content-length", "5")];
        for method in [Method::GET, Method::POST] {
            let [length, coding] = declared(&method, &stated, &stream());
            assert_eq!(length.as_deref(), Some("5"), "{method}");
            assert_eq!(coding, None, "{method}: one of the two says where it ends");
        }
    }
}
