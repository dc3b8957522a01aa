#![no_main]

use arbitrary::Arbitrary;
use http::Response;
use libfuzzer_sys::fuzz_target;
use tower_upstream::{Invalid, Truncate};
use tower_upstream_fuzz::{Chunks, Seen, Shape, read};

#[derive(Arbitrary, Debug)]
struct Input {
    limit: u16,
    policy: u8,
    charset: u8,
    coding: u8,
    shape: Shape,
    bytes: Vec<u8>,
}

const MARK: &[u8] = b"\xef\xbb\xbf";
const CHARSETS: [&str; 6] = [
    "utf-8",
    "shift_jis",
    "utf-16",
    "gb18030",
    "iso-2022-jp",
    "latin1",
];
const CODINGS: [&str; 5] = ["identity", "gzip", "br", "zstd", "deflate, gzip"];

fuzz_target!(|input: Input| {
    let policies = [Invalid::Keep, Invalid::Replace, Invalid::Error];
    let policy = policies[usize::from(input.policy) % policies.len()];
    let charset = CHARSETS[usize::from(input.charset) % CHARSETS.len()];
    let coding = CODINGS[usize::from(input.coding) % CODINGS.len()];
    let truncate = Truncate::chars(input.limit.into()).invalid(policy);
    let cut = |body: Chunks| -> Seen {
        let response = Response::builder()
            .header("content-type", format!("text/plain; charset={charset}"))
            .header("content-encoding", coding);
        read(truncate.apply(response.body(body).unwrap()).into_body())
    };
    let seen = cut(Chunks::new(&input.bytes, input.shape));
    if charset == "utf-8" && coding == "identity" && !seen.failed {
        let expected = reference(&input.bytes, input.limit.into(), policy == Invalid::Replace);
        assert_eq!(seen.bytes, expected, "the first characters");
    }
    if coding == "identity" && !input.shape.has_trailers {
        let whole = cut(Chunks::whole(&input.bytes, input.shape));
        // A known length within the limit is not decoded.
        if charset == "utf-8" {
            assert_eq!(seen.bytes, whole.bytes, "however it is chunked");
            assert_eq!(seen.failed, whole.failed, "however it is chunked");
        }
    }
    if policy == Invalid::Replace && coding == "identity" {
        assert!(
            str::from_utf8(&seen.bytes).is_ok(),
            "what was replaced is UTF-8"
        );
    }
});

/// The first `limit` units, as the definition has them.
fn reference(bytes: &[u8], limit: usize, replace: bool) -> Vec<u8> {
    let (mark, text) = match bytes.strip_prefix(MARK) {
        Some(text) if limit > 0 => (MARK, text),
        _ => (&[][..], bytes),
    };
    let mut units = Vec::new();
    for chunk in text.utf8_chunks() {
        units.extend(
            chunk
                .valid()
                .chars()
                .map(|unit| unit.to_string().into_bytes()),
        );
        if !chunk.invalid().is_empty() {
            let replaced = "\u{FFFD}".as_bytes();
            units.push(if replace { replaced } else { chunk.invalid() }.to_vec());
        }
    }
    let kept: Vec<_> = units.into_iter().take(limit).collect();
    let kept = kept.concat();
    if replace {
        kept
    } else {
        [mark, &kept].concat()
    }
}
