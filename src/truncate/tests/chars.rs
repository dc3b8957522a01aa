use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use http_body::Body as _;

use super::support::{Script, cut, finish, header};
use crate::{Invalid, Truncate, TruncationOutcome as Outcome, truncate::Undecodable};

fn chars_of(limit: u64, chunks: &[&[u8]]) -> (Vec<u8>, Outcome) {
    let (seen, outcome) = cut(&Truncate::chars(limit), Script::chunks(chunks));
    (seen.bytes(), outcome)
}

#[test]
fn a_text_no_longer_in_bytes_than_the_limit_in_chars_is_untouched() {
    // Row 15.
    let body = Script::chunks(["\u{e9}\u{e9}"]).sized();
    let response = Truncate::chars(4).apply(body.with([
        ("content-type", "text/html; charset=UTF-8"),
        ("etag", "\"x\""),
    ]));
    assert_eq!(
        header(&response, "content-length"),
        Some("4"),
        "the length stays"
    );
    assert_eq!(header(&response, "etag"), Some("\"x\""), "the tag stays");
    let (seen, outcome) = finish(response);
    assert_eq!(seen.bytes(), "\u{e9}\u{e9}".as_bytes(), "all passes");
    assert_eq!(outcome, Outcome::Complete { bytes: 4 }, "it is complete");
}

#[test]
fn a_text_longer_than_any_text_within_the_limit_is_told_to_be_cut() {
    // Row 16.
    let response = Truncate::chars(2).apply(Script::chunks(["abcdefghijkl"]).sized().text());
    let told = header(&response, "content-truncated");
    assert_eq!(
        told,
        Some("length;limit=2;unit=char;size=12"),
        "twelve bytes are over 4 * 2 + 3"
    );
    assert_eq!(
        header(&response, "content-length"),
        None,
        "how many bytes pass is not known"
    );
    assert_eq!(finish(response).0.bytes(), b"ab", "two characters pass");
}

#[test]
fn a_text_in_between_promises_nothing_and_the_outcome_tells() {
    // Row 17.
    for (text, original) in [("\u{1F600}\u{1F600}", None), ("abcdefgh", Some(8))] {
        let response = Script::chunks([text]).sized();
        let response = response.with([("content-type", "text/plain"), ("etag", "\"x\"")]);
        let response = Truncate::chars(2).apply(response);
        assert_eq!(
            header(&response, "content-length"),
            None,
            "the length is not known"
        );
        assert_eq!(header(&response, "etag"), None, "it may not be the whole");
        assert_eq!(
            header(&response, "content-truncated"),
            None,
            "nor may it be cut"
        );
        let (_, outcome) = finish(response);
        match original {
            None => assert_eq!(
                outcome,
                Outcome::Complete { bytes: 8 },
                "two long characters"
            ),
            _ => assert_eq!(
                outcome,
                Outcome::Cut { bytes: 2, original },
                "eight short ones"
            ),
        }
    }
}

#[test]
fn fifty_one_ascii_bytes_cut_at_fifty_characters_are_fifty_bytes() {
    // Row 18.
    let body = Script::chunks(["x".repeat(51)]).sized();
    let (seen, outcome) = cut(&Truncate::chars(50), body);
    assert_eq!(seen.bytes().len(), 50, "fifty bytes pass");
    assert_eq!(
        outcome,
        Outcome::Cut {
            bytes: 50,
            original: Some(51)
        },
        "of fifty-one"
    );
}

#[test]
fn a_character_split_over_chunks_counts_once_and_comes_whole_in_one_frame() {
    // Row 19.
    for character in ["\u{e9}", "\u{20ac}", "\u{1F600}"] {
        let chunks: Vec<_> = character.bytes().map(|byte| [byte]).collect();
        let (seen, outcome) = cut(&Truncate::chars(2), Script::chunks(chunks));
        assert_eq!(
            seen.frames,
            [character],
            "{character} in one frame, and no empty ones"
        );
        let bytes = character.len() as u64;
        assert_eq!(
            outcome,
            Outcome::Complete { bytes },
            "{character} counts once"
        );
    }
}

#[test]
fn a_character_at_the_cut_is_whole_or_absent() {
    // Row 20.
    let text = "a\u{e9}\u{20ac}\u{1F600}b";
    for split in 0..text.len() {
        for limit in 0..5 {
            let (head, tail) = text.as_bytes().split_at(split);
            let (bytes, _) = chars_of(limit, &[head, tail]);
            let expected: String = text.chars().take(usize::try_from(limit).unwrap()).collect();
            assert_eq!(
                bytes,
                expected.as_bytes(),
                "{limit} characters, split at {split}"
            );
        }
    }
}

#[test]
fn combining_marks_and_joined_emoji_are_cut_between_scalars_as_python_cuts_them() {
    // Row 22. A unit of grapheme clusters is not part of this release.
    assert_eq!(
        chars_of(1, &["e\u{301}x".as_bytes()]).0,
        b"e",
        "the accent is a character"
    );
    assert_eq!(
        chars_of(2, &["e\u{301}x".as_bytes()]).0,
        "e\u{301}".as_bytes(),
        "the second"
    );
    let family = "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}";
    assert_eq!(
        chars_of(2, &[family.as_bytes()]).0,
        "\u{1F468}\u{200D}".as_bytes(),
        "in two"
    );
}

#[test]
fn a_carriage_return_may_be_left_alone_at_the_cut() {
    // Row 23. A unit of lines (and rows 68 and 69) is not part of this release.
    assert_eq!(
        chars_of(2, &[b"a\r\nb"]).0,
        b"a\r",
        "it is a character like any other"
    );
}

#[test]
fn malformed_text_is_kept_byte_for_byte_and_each_maximal_subpart_counts_once() {
    // Row 24.
    let (bytes, outcome) = chars_of(5, &[b"ab\xed\xa0\x80c"]);
    assert_eq!(bytes, b"ab\xed\xa0\x80", "a surrogate is three subparts");
    assert_eq!(
        outcome,
        Outcome::Cut {
            bytes: 5,
            original: None
        },
        "five of six units"
    );
    assert_eq!(
        chars_of(2, &[b"\xe2\x82a\xff"]).0,
        b"\xe2\x82a",
        "two bytes are one subpart"
    );
}

#[test]
fn malformed_text_is_replaced_and_the_length_is_no_longer_known() {
    // Row 25.
    let truncate = Truncate::chars(100).invalid(Invalid::Replace);
    let response = truncate.apply(Script::chunks([b"ab\xed\xa0\x80c"]).sized().text());
    assert_eq!(
        header(&response, "content-length"),
        None,
        "a replacement is longer"
    );
    let (seen, _) = finish(response);
    assert_eq!(
        seen.bytes(),
        "ab\u{FFFD}\u{FFFD}\u{FFFD}c".as_bytes(),
        "one for each subpart"
    );
}

#[test]
fn malformed_text_is_an_error_by_policy_behind_what_is_well_formed() {
    // Row 26: the head has gone out before a body is read, so the body fails.
    let truncate = Truncate::chars(100).invalid(Invalid::Error);
    for chunks in [
        vec![&b"ab\xffcd"[..]],
        vec![b"a", b"b\xff", b"cd"],
        vec![b"ab\xf0\x9f", b"x"],
    ] {
        for body in [Script::chunks(&chunks), Script::chunks(&chunks).sized()] {
            let (seen, outcome) = cut(&truncate, body);
            assert_eq!(seen.bytes(), b"ab", "what is well formed passes");
            let error = seen.error.expect("the rest is an error");
            let text = error.to_string();
            assert_eq!(text, "the text is malformed", "which says what is wrong");
            assert!(
                Undecodable::is_in(&*error),
                "and is known as the body's own"
            );
            assert_eq!(outcome, Outcome::Failed, "it failed");
        }
    }
    let (seen, _) = cut(&truncate.clone(), Script::chunks([b"ab\xe2"]));
    assert!(
        seen.error.is_some(),
        "a character that never ends is malformed"
    );
    let (seen, _) = cut(
        &Truncate::chars(2).invalid(Invalid::Error),
        Script::chunks([b"ab\xff"]),
    );
    assert!(seen.error.is_none(), "behind the limit nobody looks");
}

#[test]
fn a_sequence_left_incomplete_at_the_end_counts_as_one() {
    // Row 27.
    let (bytes, outcome) = chars_of(2, &[b"a\xe2", b"\x82"]);
    assert_eq!(bytes, b"a\xe2\x82", "it is kept as it is");
    assert_eq!(outcome, Outcome::Complete { bytes: 3 }, "within the limit");
    let (bytes, outcome) = chars_of(1, &[b"a\xe2\x82"]);
    assert_eq!(bytes, b"a", "not if the limit is reached before it");
    assert_eq!(
        outcome,
        Outcome::Cut {
            bytes: 1,
            original: None
        },
        "then it is cut off"
    );
    let (bytes, outcome) = chars_of(1, &[b"\xf0\x9f\x98"]);
    assert_eq!(bytes, b"\xf0\x9f\x98", "three bytes are one subpart");
    assert_eq!(outcome, Outcome::Complete { bytes: 3 }, "within the limit");

    let replace = Truncate::chars(2).invalid(Invalid::Replace);
    let body = Script::chunks([&b"a\xe2"[..], b"\x82"]).trailers("x-sum", "1");
    let (seen, _) = cut(&replace, body);
    assert_eq!(
        seen.bytes(),
        "a\u{FFFD}".as_bytes(),
        "one replacement for it"
    );
    assert!(seen.trailers.is_some(), "and the trailers come behind it");
}

#[test]
fn a_byte_order_mark_does_not_count_and_is_kept_unless_text_is_joined() {
    // Row 28.
    for chunks in [
        vec![&b"\xef\xbb\xbfhi!"[..]],
        vec![b"\xef", b"\xbb", b"\xbfhi!"],
    ] {
        let (bytes, _) = chars_of(2, &chunks);
        assert_eq!(
            bytes, b"\xef\xbb\xbfhi",
            "it passes in front of two characters"
        );
        let replace = Truncate::chars(2).invalid(Invalid::Replace);
        let (seen, _) = cut(&replace, Script::chunks(&chunks));
        assert_eq!(seen.bytes(), b"hi", "it has no place inside other text");
    }
    let (bytes, _) = chars_of(1, &[b"\xef\xbb\xbf\xef\xbb\xbfx"]);
    assert_eq!(
        bytes, b"\xef\xbb\xbf\xef\xbb\xbf",
        "a second one is a character"
    );
}

#[test]
fn a_single_byte_charset_is_cut_as_bytes() {
    // Row 29.
    let body = Script::chunks([b"caf\xe9 au lait"]).sized();
    let response = body.with([("content-type", "text/plain; charset=ISO-8859-1")]);
    let response = Truncate::chars(4).apply(response);
    assert_eq!(
        header(&response, "content-length"),
        Some("4"),
        "a byte is a character"
    );
    let told = header(&response, "content-truncated");
    assert_eq!(
        told,
        Some("length;limit=4;unit=char;size=12"),
        "the cut is certain"
    );
    assert_eq!(
        finish(response).0.bytes(),
        b"caf\xe9",
        "four characters pass"
    );
}

#[test]
fn an_unknown_charset_is_taken_for_utf8() {
    // Row 32.
    let body = Script::chunks(["\u{e9}\u{e9}\u{e9}"]);
    let response = body.with([("content-type", "text/plain; charset=klingon")]);
    let (seen, _) = finish(Truncate::chars(2).apply(response));
    assert_eq!(
        seen.bytes(),
        "\u{e9}\u{e9}".as_bytes(),
        "two characters pass"
    );
}

#[test]
fn the_characters_of_chunks_add_up() {
    let chunks: Vec<_> = "\u{e9}"
        .repeat(100)
        .into_bytes()
        .chunks(19)
        .map(<[u8]>::to_vec)
        .collect();
    let (seen, _) = cut(&Truncate::chars(50), Script::chunks(chunks));
    assert_eq!(
        seen.bytes(),
        "\u{e9}".repeat(50).as_bytes(),
        "fifty characters pass in all"
    );
    let vector: [&[u8]; 4] = [b"a\xe2", b"\x82", b"\xac\xf0\x9f", b"\x98\x80z"];
    assert_eq!(
        chars_of(3, &vector).0,
        "a\u{20ac}\u{1F600}".as_bytes(),
        "three characters pass"
    );
}

#[test]
fn the_longest_text_within_the_limit_is_not_said_to_be_cut() {
    for limit in [1, 3] {
        let text = "\u{FEFF}".to_owned() + &"\u{1F600}".repeat(limit);
        let body = Script::chunks([&text]).sized();
        let response = Truncate::chars(limit as u64).apply(body.text());
        assert_eq!(
            header(&response, "content-truncated"),
            None,
            "a mark and {limit} characters of four bytes"
        );
        assert_eq!(finish(response).0.bytes(), text.as_bytes());
    }
}

#[test]
fn a_body_has_not_ended_while_something_of_it_is_held_back() {
    let body = Script::chunks([b"ab\xe2"]).tells_end();
    let mut body = pin!(Truncate::chars(9).apply(body.text()).into_body());
    let mut context = Context::from_waker(Waker::noop());
    for (piece, is_last) in [(&b"ab"[..], false), (b"\xe2", true)] {
        let frame = body.as_mut().poll_frame(&mut context);
        let Poll::Ready(Some(Ok(frame))) = frame else {
            panic!("{piece:?} is to come");
        };
        assert_eq!(frame.into_data().unwrap(), piece);
        assert_eq!(body.is_end_stream(), is_last, "after {piece:?}");
    }
}
