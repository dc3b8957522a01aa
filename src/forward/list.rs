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
