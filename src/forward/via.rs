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

/// A proxy's name, and what it adds to the field for each version: made once, since making it for
/// every message costs an allocation and a look at each of its bytes.
#[derive(Clone)]
pub(super) struct Via {
    name: String,
    members: [HeaderValue; VERSIONS.len()],
}

const VERSIONS: [(Version, &str); 5] = [
    (Version::HTTP_09, "0.9"),
    (Version::HTTP_10, "1.0"),
    (Version::HTTP_11, "1.1"),
    (Version::HTTP_2, "2"),
    (Version::HTTP_3, "3"),
];

impl Via {
    /// For a name that is clean.
    pub(super) fn new(name: String) -> Self {
        let members = VERSIONS.map(|(_, version)| {
            // A clean name is text, so there is always a value.
            HeaderValue::try_from(format!("{version} {name}"))
                .unwrap_or_else(|_| HeaderValue::from_static("1.1 _"))
        });
        Self { name, members }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Refuses a request that has been here before.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let is_own = |member: &str| {
            let by = member.split_ascii_whitespace().nth(1);
            by.is_some_and(|by| by.eq_ignore_ascii_case(&self.name))
        };
        if list::members(headers, VIA).any(is_own) {
            return Err(Answer::LOOP);
        }
        Ok(())
    }

    /// Adds this proxy as the last that a message, received in this version, came by.
    pub(super) fn add(&self, headers: &mut HeaderMap, version: Version) {
        let place = VERSIONS.iter().position(|(own, _)| *own == version);
        if let Some(member) = place.and_then(|place| self.members.get(place)) {
            headers.append(VIA, member.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(name: &str) -> Via {
        Via::new(name.to_owned())
    }

    #[test]
    fn a_proxy_keeps_the_name_it_was_given() {
        assert_eq!(via("edge").name(), "edge");
    }

    #[test]
    fn a_request_that_came_by_is_known_again() {
        let mut headers = HeaderMap::new();
        headers.append(VIA, HeaderValue::from_static("1.0 fred, HTTP/1.1 p:80 (x)"));
        via("edge").add(&mut headers, Version::HTTP_2);
        assert_eq!(headers.get_all(VIA).iter().nth(1).unwrap(), "2 edge");
        assert!(via("EDGE").check(&headers).is_err(), "in any case");
        assert!(via("p:80").check(&headers).is_err(), "with a comment");
        assert!(via("edge-2").check(&headers).is_ok());
        assert!(via("1.0").check(&headers).is_ok(), "a version is no name");
    }

    #[test]
    fn a_name_cannot_break_out_of_the_field() {
        assert_eq!(clean_name("a b,c\"\r\n(é)"), "a_b_c______");
        assert_ne!(any_name(), any_name(), "two proxies in a row are no loop");
    }
}
