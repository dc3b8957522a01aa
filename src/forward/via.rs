//! `Via` (RFC 9110 §7.6.3): who passed a message on, and so whether it goes round in a circle.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderValue, Version, header::VIA};

use super::{answer::Answer, list};

/// A name for a proxy that was given none: unlike any other's, or two in a row would be taken for a
/// loop.
pub(super) fn any_name() -> String {
    format!(
        "tower-upstream-{:08x}",
        RandomState::new().hash_one(()) >> 32
    )
}

/// The name as a pseudonym, or a host with a port. What neither may hold becomes `_`.
pub(super) fn clean_name(name: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:".contains(char);
    let clean = |char| if allowed(char) { char } else { '_' };
    match name {
        "" => "_".to_owned(),
        name => name.chars().map(clean).collect(),
    }
}

/// Refuses a request that has been here before.
pub(super) fn check(headers: &HeaderMap, name: &str) -> Result<(), Answer> {
    let is_own = |member: &str| {
        let by = member.split_ascii_whitespace().nth(1);
        by.is_some_and(|by| by.eq_ignore_ascii_case(name))
    };
    if list::members(headers, VIA).any(is_own) {
        return Err(Answer::LOOP);
    }
    Ok(())
}

/// Adds this proxy as the last that a message, received in this version, came by.
pub(super) fn add(headers: &mut HeaderMap, version: Version, name: &str) {
    let version = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    // A clean name is text, so there is always a value to add.
    if let Ok(value) = HeaderValue::try_from(format!("{version} {name}")) {
        headers.append(VIA, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_came_by_is_known_again() {
        let mut headers = HeaderMap::new();
        headers.append(VIA, HeaderValue::from_static("1.0 fred, HTTP/1.1 p:80 (x)"));
        add(&mut headers, Version::HTTP_2, "edge");
        assert!(check(&headers, "EDGE").is_err(), "in any case");
        assert!(check(&headers, "p:80").is_err(), "with a comment");
        assert!(check(&headers, "edge-2").is_ok());
        assert!(check(&headers, "1.0").is_ok(), "a version is no name");
    }

    #[test]
    fn a_name_cannot_break_out_of_the_field() {
        assert_eq!(clean_name("a b,c\"\r\n(é)"), "a_b_c______");
        assert_ne!(any_name(), any_name(), "two proxies in a row are no loop");
    }
}
