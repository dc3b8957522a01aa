//! Fields whose value is a list (RFC 9110 §5.6.1).

use http::{HeaderMap, header::AsHeaderName};

/// The members of a list field, over all its lines; what is not ASCII text is no member.
pub(super) fn members(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

/// Whether a list field has this member, in any case.
pub(super) fn has(headers: &HeaderMap, name: impl AsHeaderName, member: &str) -> bool {
    members(headers, name).any(|m| m.eq_ignore_ascii_case(member))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::EXPECT};

    use super::*;

    #[test]
    fn a_member_is_found_in_any_line_and_case_and_as_a_whole() {
        let mut headers = HeaderMap::new();
        assert!(!has(&headers, EXPECT, "100-continue"), "there is no field");
        headers.append(EXPECT, HeaderValue::from_static("a, ,b "));
        headers.append(EXPECT, HeaderValue::from_static("100-Continue"));
        for member in ["a", "b", "100-continue"] {
            assert!(has(&headers, EXPECT, member), "{member} is in the list");
        }
        for other in ["100", "a, ", "c", ""] {
            assert!(!has(&headers, EXPECT, other), "{other:?} is no member");
        }
    }
}
