//! HTTP/2 lets a client send its cookies in pieces, HTTP/1.1 does not (RFC 9113 §8.2.3).

use http::{HeaderMap, HeaderValue, header::COOKIE};

/// Makes one field of them.
pub(super) fn join(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Values joined by what a value may hold are a value.
    if let Ok(mut joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_one_field() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        join(&mut headers);
        assert_eq!(headers[COOKIE], "a=1");
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        join(&mut headers);
        assert_eq!(headers[COOKIE], "a=1; b=2");
        assert_eq!(headers.len(), 1, "one line is left");
    }
}
