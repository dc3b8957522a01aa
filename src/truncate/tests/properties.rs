//! For any bytes, any chunking and any limit.

use ::bytes::Bytes;
use proptest::prelude::*;

use super::{
    grpc::message,
    support::{Script, cut, finish},
};
use crate::{Invalid, Truncate, TruncationOutcome as Outcome};

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of which many are parts of characters, whole or not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => any::<char>().prop_map(|character| character.to_string().into_bytes()),
        2 => "[a-z]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => Just(MARK.to_vec()),
        1 => Just(b"\xf0\x9f\x98".to_vec()),
        1 => Just(b"\xed\xa0\x80".to_vec()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Places to split at, as shares of the whole.
fn splits() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

fn chunked(bytes: &[u8], splits: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut places: Vec<_> = splits
        .iter()
        .map(|split| split.index(bytes.len() + 1))
        .collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let piece = |ends: &[usize]| Bytes::copy_from_slice(&bytes[ends[0]..ends[1]]);
    places.windows(2).map(piece).collect()
}

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

proptest! {
    #[test]
    fn bytes_are_the_first_of_the_whole_however_it_is_chunked(
        bytes in bytes(), splits in splits(), limit in 0..64usize, sized: bool,
    ) {
        let body = Script::chunks(chunked(&bytes, &splits));
        let body = if sized { body.sized() } else { body };
        let (seen, outcome) = cut(&Truncate::bytes(limit as u64), body);
        let kept = limit.min(bytes.len());
        prop_assert_eq!(seen.bytes(), &bytes[..kept], "the first bytes");
        let passed = kept as u64;
        match outcome {
            Outcome::Complete { bytes: told } => {
                prop_assert!(kept == bytes.len() && told == passed, "complete is all of it");
            }
            Outcome::Cut { bytes: told, .. } => {
                prop_assert!(kept < bytes.len() && told == passed, "cut is less");
            }
            Outcome::LimitReached { bytes: told } => {
                prop_assert!(kept == limit && told == passed && !sized, "reached is the limit");
            }
            other => prop_assert!(false, "it ended: {:?}", other),
        }
    }

    #[test]
    fn characters_are_the_first_of_the_whole_however_it_is_chunked(
        bytes in bytes(), splits in splits(), limit in 0..40usize, sized: bool, replace: bool,
    ) {
        let policy = if replace { Invalid::Replace } else { Invalid::Keep };
        let body = Script::chunks(chunked(&bytes, &splits));
        let body = if sized { body.sized() } else { body };
        let (seen, _) = cut(&Truncate::chars(limit as u64).invalid(policy), body);
        prop_assert_eq!(seen.bytes(), reference(&bytes, limit, replace), "the first characters");
        prop_assert!(seen.bytes().len() <= 4 * limit + 3, "no character is longer than four bytes");
    }

    #[test]
    fn failing_text_passes_up_to_what_is_malformed(
        bytes in bytes(), splits in splits(), limit in 1..40usize,
    ) {
        let truncate = Truncate::chars(limit as u64).invalid(Invalid::Error);
        let (seen, _) = cut(&truncate, Script::chunks(chunked(&bytes, &splits)));
        let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid()).as_bytes();
        let kept = reference(&bytes, limit, false);
        if kept.len() <= valid.len() {
            prop_assert!(seen.error.is_none(), "nothing malformed is within the limit");
            prop_assert_eq!(seen.bytes(), kept, "so all of it passes");
        } else {
            prop_assert!(seen.error.is_some(), "it fails");
            prop_assert_eq!(seen.bytes(), valid, "behind what is well formed");
        }
    }

    #[test]
    fn a_length_that_is_stated_is_the_length_that_comes(
        bytes in bytes(), splits in splits(), limit in 0..64u64, chars: bool, replace: bool,
    ) {
        let policy = if replace { Invalid::Replace } else { Invalid::Keep };
        let truncate = if chars { Truncate::chars(limit) } else { Truncate::bytes(limit) };
        let body = Script::chunks(chunked(&bytes, &splits)).sized();
        let response = truncate.invalid(policy).apply(body.text());
        let stated = response.headers().get("content-length").cloned();
        let told = response.headers().contains_key("content-truncated");
        let (seen, outcome) = finish(response);
        if let Some(stated) = stated {
            let came = seen.bytes().len().to_string();
            prop_assert_eq!(stated.to_str().unwrap(), came, "the stated length");
        }
        if told {
            let cut = matches!(outcome, Outcome::Cut { .. });
            prop_assert!(cut, "what is told to be cut is cut: {:?}", outcome);
        }
    }

    #[test]
    fn messages_are_the_first_of_the_whole_however_it_is_chunked(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        splits in splits(), limit in 0..7usize, longest in 0..600u64,
    ) {
        let wire = |contents: &[Vec<u8>]| -> Vec<u8> {
            contents.iter().flat_map(|content| message(content)).collect()
        };
        let body = Script::chunks(chunked(&wire(&contents), &splits)).trailers("grpc-status", "0");
        let response = body.with([("content-type", "application/grpc+proto")]);
        let truncate = Truncate::grpc_messages(limit as u64).longest_message(longest);
        let (seen, _) = finish(truncate.apply(response));
        let is_short = |content: &&Vec<u8>| content.len() as u64 <= longest;
        let kept = contents.iter().take(limit).take_while(is_short).count();
        prop_assert_eq!(seen.bytes(), wire(&contents[..kept]), "the first messages");
        let code = if kept == contents.len() { "0" } else { "8" };
        prop_assert_eq!(&seen.trailers.unwrap()["grpc-status"], code, "the status");
    }
}
