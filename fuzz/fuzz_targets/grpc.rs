#![no_main]

use arbitrary::Arbitrary;
use http::Response;
use libfuzzer_sys::fuzz_target;
use tower_upstream::Truncate;
use tower_upstream_fuzz::{Chunks, Shape, read};

#[derive(Arbitrary, Debug)]
struct Input {
    limit: u8,
    longest: Option<u16>,
    take: bool,
    shape: Shape,
    bytes: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let mut truncate = Truncate::grpc_messages(input.limit.into());
    if let Some(longest) = input.longest {
        truncate = truncate.longest_message(longest.into());
    }
    if input.take {
        truncate = truncate.take();
    }
    let response = Response::builder().header("content-type", "application/grpc");
    let body = Chunks::new(&input.bytes, input.shape);
    let response = truncate.apply(response.body(body).unwrap());
    assert!(
        !response.headers().contains_key("content-length"),
        "no length is stated"
    );
    let seen = read(response.into_body());
    assert!(input.bytes.starts_with(&seen.bytes), "nothing is added");
    let longest = input.longest.map_or(u64::MAX, u64::from);
    let (messages, is_whole) = messages(&seen.bytes, longest);
    assert!(
        messages <= u64::from(input.limit),
        "no more messages than the limit"
    );
    assert!(!seen.failed, "a failure is a status");
    let status = seen
        .trailers
        .map(|trailers| trailers["grpc-status"].clone());
    let is_good = status.as_ref().is_some_and(|status| status == "0");
    assert!(
        is_whole || !is_good,
        "no good status behind part of a message"
    );
    let is_cut = seen.bytes.len() < input.bytes.len();
    assert!(
        !is_cut || status.is_some(),
        "never shorter without a status"
    );
    assert!(
        !is_cut || !is_good || input.take,
        "and never with a good one that is not asked for"
    );
});

/// How many messages begin in `bytes`, and whether the last is whole.
fn messages(mut bytes: &[u8], longest: u64) -> (u64, bool) {
    let mut count = 0;
    while let Some((prefix, rest)) = bytes.split_first_chunk::<5>() {
        count += 1;
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        assert!(
            u64::from(length) <= longest,
            "no message is longer than its limit"
        );
        let Some(next) = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(length..))
        else {
            return (count, false);
        };
        bytes = next;
    }
    (count, bytes.is_empty())
}
