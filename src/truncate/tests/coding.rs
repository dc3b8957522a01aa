use ::bytes::Bytes;
use async_compression::{
    Level,
    codecs::{
        BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder, ZstdEncoder,
        brotli::params::EncoderParams, flate::params::FlateEncoderParams as Flate,
    },
    core::util::{PartialBuffer, WriteBuffer},
};
use http::Method;
use http_body::Body as _;
use proptest::prelude::*;

use super::support::{Script, finish, header, read};
use crate::{Truncate, TruncationOutcome as Outcome, Uncuttable};

const TEXT: &str = "naïve café, and more of it than fits";

fn encode(mut codec: impl EncodeV2, data: &[u8]) -> Vec<u8> {
    let mut coded = vec![0; 2 * data.len() + 1024];
    let mut output = WriteBuffer::new_initialized(&mut coded);
    let mut input = PartialBuffer::new(data);
    while !input.unwritten().is_empty() {
        codec.encode(&mut input, &mut output).unwrap();
    }
    while !codec.finish(&mut output).unwrap() {}
    let written = output.written_len();
    coded.truncate(written);
    coded
}

fn gzip(data: &[u8]) -> Vec<u8> {
    encode(GzipEncoder::new(Flate::from(Level::Default)), data)
}

fn brotli(data: &[u8]) -> Vec<u8> {
    encode(BrotliEncoder::new(EncoderParams::default()), data)
}

fn zstd(data: &[u8]) -> Vec<u8> {
    encode(ZstdEncoder::new(3), data)
}

fn zlib(data: &[u8]) -> Vec<u8> {
    encode(ZlibEncoder::new(Flate::from(Level::Default)), data)
}

fn raw_deflate(data: &[u8]) -> Vec<u8> {
    encode(DeflateEncoder::new(Flate::from(Level::Default)), data)
}

fn response(coding: &str, body: Script) -> http::Response<Script> {
    body.with([
        ("content-type", "text/plain"),
        ("content-encoding", coding),
        ("etag", "\"x\""),
    ])
}

fn cut(truncate: &Truncate, coding: &str, body: Script) -> (String, Option<String>, Outcome) {
    let (seen, outcome) = finish(truncate.apply(response(coding, body)));
    let text = String::from_utf8(seen.bytes()).unwrap();
    (text, seen.error.map(|error| error.to_string()), outcome)
}

#[test]
fn a_coding_is_taken_off_and_the_text_is_counted_however_it_is_chunked() {
    // Rows 34 and 35.
    let data = TEXT.as_bytes();
    let cases = [
        ("gzip", gzip(data)),
        ("GZIP", gzip(data)),
        ("x-gzip", gzip(data)),
        ("identity, gzip", gzip(data)),
        ("br", brotli(data)),
        ("zstd", zstd(data)),
        ("deflate", zlib(data)),
        ("deflate", raw_deflate(data)),
    ];
    for (coding, coded) in cases {
        for size in 1..=coded.len() {
            let (text, error, _) = cut(
                &Truncate::chars(10),
                coding,
                Script::chunks(coded.chunks(size)),
            );
            assert_eq!(text, "naïve café", "{coding} in pieces of {size}");
            assert_eq!(error, None, "{coding} in pieces of {size}");
            let body = Script::chunks(coded.chunks(size)).trailers("x-sum", "1");
            let (text, _, outcome) = cut(&Truncate::chars(99), coding, body);
            assert_eq!(text, TEXT, "{coding} whole, in pieces of {size}");
            assert_eq!(
                outcome,
                Outcome::Complete { bytes: 38 },
                "{coding} is whole"
            );
        }
    }
}

#[test]
fn the_headers_of_a_coded_body_become_those_of_the_text() {
    // Row 34.
    for method in [Method::GET, Method::HEAD] {
        let body = Script::chunks([gzip(TEXT.as_bytes())]).sized();
        let response = Truncate::bytes(5).apply_to(&method, response("gzip", body));
        assert_eq!(
            header(&response, "content-encoding"),
            None,
            "{method}: the coding is gone"
        );
        assert_eq!(
            header(&response, "content-length"),
            None,
            "{method}: its length was the coded"
        );
        assert_eq!(
            header(&response, "etag"),
            None,
            "{method}: its tag was the coded"
        );
        assert_eq!(
            header(&response, "vary"),
            Some("accept-encoding"),
            "{method}: it was negotiated"
        );
        assert_eq!(
            header(&response, "content-truncated"),
            None,
            "{method}: a cut is not certain"
        );
        assert_eq!(
            response.body().size_hint().exact(),
            None,
            "{method}: no length is hinted"
        );
    }
    let empty = Truncate::bytes(5).apply(response("gzip", Script::chunks([""; 0]).sized()));
    assert_eq!(
        header(&empty, "content-encoding"),
        Some("gzip"),
        "what is empty is untouched"
    );
    let nothing = Script::chunks([""; 0]);
    let (text, error, _) = cut(&Truncate::bytes(5), "gzip", nothing);
    assert_eq!(
        (text.as_str(), error),
        ("", None),
        "nothing at all is the empty text"
    );
}

#[test]
fn two_codings_are_taken_off_in_turn_and_more_are_uncuttable() {
    // Rows 36 and 37.
    let data = TEXT.as_bytes();
    let twice = brotli(&gzip(data));
    for size in [1, 7, twice.len()] {
        let body = Script::chunks(twice.chunks(size));
        let (text, _, outcome) = cut(&Truncate::chars(99), "gzip, br", body);
        assert_eq!(text, TEXT, "the last applied first, in pieces of {size}");
        assert_eq!(outcome, Outcome::Complete { bytes: 38 }, "it is whole");
    }
    for coding in ["gzip, br, gzip", "gzip, dcb", "compress"] {
        let body = || Script::chunks([&twice]);
        let passed = Truncate::chars(1).apply(response(coding, body()));
        assert_eq!(
            header(&passed, "content-encoding"),
            Some(coding),
            "{coding} stays"
        );
        assert_eq!(read(passed.into_body()).bytes(), twice, "{coding} passes");
        let refused = Truncate::chars(1)
            .uncuttable(Uncuttable::Refuse)
            .apply(response(coding, body()));
        assert_eq!(refused.status(), 502, "{coding} is refused");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    // Row 38.
    let zeros = vec![b'0'; 1024 * 1024];
    let bombs = [
        ("gzip", gzip(&zeros)),
        ("zstd", zstd(&zeros)),
        ("br", brotli(&zeros)),
        ("deflate", raw_deflate(&zeros)),
        ("gzip, gzip", gzip(&gzip(&zeros))),
    ];
    for (coding, bomb) in bombs {
        let body = Script::chunks([&bomb]);
        let (text, _, outcome) = cut(&Truncate::chars(50), coding, body);
        assert_eq!(text.len(), 50, "{coding}: fifty characters pass");
        assert_eq!(
            outcome,
            Outcome::Cut {
                bytes: 50,
                original: None
            },
            "{coding}: it was cut"
        );
        let whole = Truncate::bytes(u64::MAX).apply(response(coding, Script::chunks([&bomb])));
        let seen = read(whole.into_body());
        assert_eq!(
            seen.bytes().len(),
            zeros.len(),
            "{coding}: without a limit all of it comes"
        );
        let longest = seen.frames.iter().map(Bytes::len).max();
        assert!(longest <= Some(4096), "{coding}: but piece by piece");
    }
}

#[test]
fn input_that_gives_nothing_stops_at_a_bound_of_its_own() {
    // Row 39: empty members, and frames that are to be skipped.
    let empty = gzip(b"").repeat(10_000);
    let skipped = [&b"\x50\x2a\x4d\x18\x00\x10\x00\x00"[..], &[0; 4096]]
        .concat()
        .repeat(100);
    for (coding, endless) in [("gzip", empty), ("zstd", skipped)] {
        assert!(endless.len() > 100 * 1024, "{coding}: it is long");
        let body = Script::chunks(endless.chunks(1000));
        let polls = body.polls();
        let (text, error, outcome) = cut(&Truncate::chars(50), coding, body);
        assert_eq!(text, "", "{coding}: nothing comes of it");
        let too_long = "the compressed body is too long for what it gives";
        assert_eq!(error.as_deref(), Some(too_long), "{coding}: it fails");
        assert_eq!(outcome, Outcome::Failed, "{coding}: it failed");
        let polls = polls.load(std::sync::atomic::Ordering::Relaxed);
        assert!(
            polls <= 67,
            "{coding}: no more than 64 KiB and some is read: {polls}"
        );
    }
}

#[test]
fn what_comes_late_of_a_coding_comes_all_the_same() {
    // Within the bound: fifteen frames that are to be skipped.
    let skipped = [&b"\x50\x2a\x4d\x18\x00\x10\x00\x00"[..], &[0; 4096]].concat();
    let late = [skipped.repeat(15), zstd(b"late")].concat();
    let body = Script::chunks(late.chunks(1000));
    let (text, error, _) = cut(&Truncate::chars(50), "zstd", body);
    assert_eq!((text.as_str(), error), ("late", None));
}

#[test]
fn a_cut_in_what_comes_of_a_coding_is_told_wherever_it_falls() {
    let coded = gzip(&[b'x'; 3 * 4096]);
    // Inside a piece, between two of them, and inside the last one.
    for limit in [10, 4096, 2 * 4096, 3 * 4096 - 1] {
        let body = Script::chunks([&coded]);
        let (text, _, outcome) = cut(&Truncate::chars(limit), "gzip", body);
        assert_eq!(text.len() as u64, limit);
        let told = Outcome::Cut {
            bytes: limit,
            original: None,
        };
        assert_eq!(outcome, told, "at {limit}");
    }
}

#[test]
fn what_a_decoder_says_of_a_broken_body_is_the_errors_cause() {
    let body = response("gzip", Script::chunks(["not gzip at all"]));
    let seen = read(Truncate::chars(50).apply(body).into_body());
    let error = seen.error.expect("it is broken");
    let cause = error.source().expect("there is more to say of it");
    assert!(cause.is::<std::io::Error>(), "{cause}");
}

#[test]
fn a_window_larger_than_the_web_allows_is_refused() {
    // A frame with a window of 128 MiB: the descriptor is 17 << 3.
    let frame = b"\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00";
    let (_, error, _) = cut(&Truncate::chars(50), "zstd", Script::chunks([frame]));
    assert!(error.is_some(), "it is not allocated");
}

#[test]
fn a_coding_that_is_broken_before_the_cut_fails_and_behind_it_is_unseen() {
    // Rows 40 and 41.
    let coded = gzip(TEXT.as_bytes());
    let mut broken = coded.clone();
    let crc = broken.len() - 8;
    broken[crc] ^= 1;
    for size in [1, 9, broken.len()] {
        let body = || Script::chunks(broken.chunks(size));
        let (text, error, outcome) = cut(&Truncate::chars(99), "gzip", body());
        assert_eq!(
            text, TEXT,
            "what came out before it passes, in pieces of {size}"
        );
        assert!(error.is_some(), "then it fails");
        assert_eq!(outcome, Outcome::Failed, "it failed");
        let (text, error, _) = cut(&Truncate::chars(5), "gzip", body());
        assert_eq!(
            (text.as_str(), error),
            ("naïve", None),
            "nobody gets that far"
        );
    }
    for short in 1..coded.len() {
        let body = Script::chunks([&coded[..short]]);
        let (_, error, _) = cut(&Truncate::chars(99), "gzip", body);
        assert!(error.is_some(), "an end after {short} bytes is too early");
    }
    let (_, error, _) = cut(
        &Truncate::chars(99),
        "gzip",
        Script::chunks(["not gzip at all"]),
    );
    assert!(error.is_some(), "it was never gzip");
}

#[test]
fn members_behind_the_first_are_text_too() {
    // Row 42.
    let members = [
        gzip("naïve ".as_bytes()),
        gzip(b""),
        gzip("café".as_bytes()),
    ]
    .concat();
    for size in 1..=members.len() {
        let body = || Script::chunks(members.chunks(size));
        let (text, error, _) = cut(&Truncate::chars(99), "gzip", body());
        assert_eq!(
            (text.as_str(), error),
            ("naïve café", None),
            "in pieces of {size}"
        );
        let (text, _, _) = cut(&Truncate::chars(8), "gzip", body());
        assert_eq!(text, "naïve ca", "in pieces of {size}");
    }
    let frames = [zstd(b"one "), zstd(b"two")].concat();
    let (text, _, _) = cut(&Truncate::chars(99), "zstd", Script::chunks([&frames]));
    assert_eq!(text, "one two", "as with frames");
    let padded = [brotli(b"one"), b"and more".to_vec()].concat();
    let (text, error, _) = cut(&Truncate::chars(99), "br", Script::chunks(padded.chunks(1)));
    assert_eq!(
        (text.as_str(), error),
        ("one", None),
        "what has no members has an end"
    );
}

#[test]
fn the_limit_reached_at_the_end_of_the_text_is_no_cut() {
    // Rows 13 and 21: what is left of the body is the coding's.
    let coded = gzip("naïve".as_bytes());
    let (_, _, outcome) = cut(
        &Truncate::chars(5),
        "gzip",
        Script::chunks([&coded]).sized(),
    );
    assert_eq!(
        outcome,
        Outcome::Complete { bytes: 6 },
        "all has come, and been looked at"
    );
    let body = Script::chunks(coded.chunks(coded.len() - 4)).sized();
    let (_, _, outcome) = cut(&Truncate::chars(5), "gzip", body);
    assert_eq!(
        outcome,
        Outcome::LimitReached { bytes: 6 },
        "what comes may be text or not"
    );
}

#[cfg(feature = "charset")]
#[test]
fn a_coding_and_a_charset_are_taken_off_in_turn() {
    // Rows 30 and 34.
    let (bytes, _, _) = encoding_rs::SHIFT_JIS.encode("日本語");
    let body = Script::chunks(gzip(&bytes).chunks(3));
    let kind = ("content-type", "text/plain; charset=shift_jis");
    let response = Truncate::chars(2).apply(body.with([kind, ("content-encoding", "gzip")]));
    assert_eq!(
        header(&response, "content-type"),
        Some("text/plain; charset=utf-8"),
        "it is UTF-8"
    );
    assert_eq!(
        finish(response).0.bytes(),
        "日本".as_bytes(),
        "two characters"
    );
}

#[test]
fn a_piece_that_is_full_when_its_chunk_is_used_up_is_followed_by_the_next_chunk() {
    // Blocks that are stored as they are, the first of them as long as a piece.
    let full = [&b"\x00\x00\x10\xff\xef"[..], &[b'x'; 4096]].concat();
    let last = b"\x01\x03\x00\xfc\xffend".to_vec();
    let body = Script::chunks([full, last]);
    let (text, error, _) = cut(&Truncate::bytes(9999), "deflate", body);
    assert_eq!(error, None, "that there is no more in a chunk is no error");
    assert_eq!(text, "x".repeat(4096) + "end");
}

proptest! {
    #[test]
    fn any_coded_body_is_the_first_of_the_text_however_it_is_chunked(
        text in ".{0,600}", size in 1..200usize, limit in 0..700usize, which in 0..5usize,
    ) {
        let data = text.as_bytes();
        let (coding, coded) = match which {
            0 => ("gzip", gzip(data)),
            1 => ("br", brotli(data)),
            2 => ("zstd", zstd(data)),
            3 => ("deflate", zlib(data)),
            _ => ("br, gzip", gzip(&brotli(data))),
        };
        let body = Script::chunks(coded.chunks(size));
        let (seen, error, _) = cut(&Truncate::chars(limit as u64), coding, body);
        let mark = '\u{FEFF}';
        let expected: String = match text.strip_prefix(mark) {
            Some(rest) if limit > 0 => [mark].into_iter().chain(rest.chars().take(limit)).collect(),
            _ => text.chars().take(limit).collect(),
        };
        prop_assert_eq!(seen, expected, "the first characters");
        prop_assert_eq!(error, None, "and no error");
    }

    #[test]
    fn garbage_fails_or_ends_and_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..2000), size in 1..300usize,
        which in 0..4usize,
    ) {
        let coding = ["gzip", "br", "zstd", "deflate"][which];
        let read_in = |size: usize| {
            let body = Script::chunks(garbage.chunks(size));
            let (seen, _) = finish(Truncate::bytes(5000).apply(response(coding, body)));
            (seen.bytes(), seen.error.is_some())
        };
        let (bytes, failed) = read_in(size);
        let (whole, fails) = read_in(2000);
        prop_assert_eq!(failed, fails, "whether it fails does not depend on the chunks");
        // How far a decoder gets before it sees an error may.
        prop_assert!(bytes.starts_with(&whole) || whole.starts_with(&bytes), "nor what comes");
        prop_assert!(failed || bytes == whole, "nor how much, if it does not fail");
    }
}
