use std::sync::{Arc, atomic::Ordering};

use http_body::Body as _;

use super::support::{Script, cut, finish, header, read, truncation};
use crate::{Truncate, TruncationOutcome as Outcome};

#[test]
fn an_empty_body_of_known_length_is_untouched_whatever_the_limit() {
    // Row 1.
    for limit in [0, 1, u64::MAX] {
        let body = Script::chunks([""; 0]).sized();
        let response = Truncate::bytes(limit).apply(body.text());
        assert_eq!(
            header(&response, "content-length"),
            Some("0"),
            "the length stays"
        );
        assert!(
            response.body().is_end_stream(),
            "it has ended from the start"
        );
        let outcome = truncation(&response).outcome();
        assert_eq!(
            outcome,
            Outcome::Complete { bytes: 0 },
            "which is told without a poll"
        );
    }
}

#[test]
fn an_empty_chunked_body_has_no_frame_and_simply_ends() {
    // Row 2.
    let response = Truncate::bytes(5).apply(Script::chunks([""; 0]).text());
    assert_eq!(
        header(&response, "content-length"),
        None,
        "no length is made up"
    );
    assert_eq!(
        header(&response, "content-truncated"),
        None,
        "nothing was cut"
    );
    let (seen, outcome) = finish(response);
    assert!(seen.frames.is_empty(), "there is no frame");
    assert_eq!(
        outcome,
        Outcome::Complete { bytes: 0 },
        "all of nothing passed"
    );
}

#[test]
fn a_limit_of_zero_lets_nothing_through_and_says_so_at_once() {
    // Row 3.
    let body = Script::chunks(["abc"]).sized();
    let polls = body.polls();
    let response = Truncate::bytes(0).apply(body.text());
    assert_eq!(
        header(&response, "content-length"),
        Some("0"),
        "nothing passes"
    );
    let told = header(&response, "content-truncated");
    assert_eq!(
        told,
        Some("length;limit=0;unit=byte;size=3"),
        "the cut is told"
    );
    assert!(response.body().is_end_stream(), "it has ended at once");
    let original = Some(3);
    let outcome = truncation(&response).outcome();
    assert_eq!(
        outcome,
        Outcome::Cut { bytes: 0, original },
        "the outcome is known"
    );
    assert_eq!(
        Arc::strong_count(&polls),
        1,
        "the inner body is gone already"
    );
    assert_eq!(polls.load(Ordering::Relaxed), 0, "and was never polled");
}

#[test]
fn a_limit_of_zero_on_an_unknown_length_claims_no_cut() {
    // Row 4.
    let response = Truncate::chars(0).apply(Script::chunks(["abc"]).text());
    assert_eq!(
        header(&response, "content-length"),
        Some("0"),
        "nothing passes"
    );
    assert_eq!(
        header(&response, "content-truncated"),
        None,
        "it may be empty"
    );
    let (_, outcome) = finish(response);
    assert_eq!(outcome, Outcome::LimitReached { bytes: 0 }, "nobody looked");
}

#[test]
fn a_body_that_fits_or_just_fits_is_identical_in_headers_and_bytes() {
    // Rows 5 and 6.
    for limit in [6, 7, 1000] {
        let response = Script::chunks(["ab\r", "\ncd"]).sized().with([
            ("content-type", "text/plain"),
            ("etag", "\"strong\""),
            ("last-modified", "Tue, 01 Jul 2025 00:00:00 GMT"),
            ("accept-ranges", "bytes"),
            ("repr-digest", "sha-256=:AAAA:"),
            ("content-location", "/there"),
        ]);
        let before = response.headers().clone();
        let response = Truncate::bytes(limit).apply(response);
        assert_eq!(response.headers(), &before, "every header is as it was");
        assert_eq!(
            response.body().size_hint().exact(),
            Some(6),
            "the length is exact"
        );
        let (seen, outcome) = finish(response);
        assert_eq!(seen.frames, ["ab\r", "\ncd"], "the frames are as they were");
        assert_eq!(outcome, Outcome::Complete { bytes: 6 }, "it is complete");
    }
}

#[test]
fn one_byte_too_many_is_cut_and_the_headers_say_so() {
    // Row 7.
    let response = Truncate::bytes(5).apply(Script::chunks(["abcdef"]).sized().text());
    assert_eq!(
        header(&response, "content-length"),
        Some("5"),
        "the length is what passes"
    );
    let told = header(&response, "content-truncated");
    assert_eq!(
        told,
        Some("length;limit=5;unit=byte;size=6"),
        "the cut is told"
    );
    assert_eq!(
        response.body().size_hint().exact(),
        Some(5),
        "the hint agrees with the header"
    );
    let (seen, outcome) = finish(response);
    assert_eq!(seen.bytes(), b"abcde", "the first five bytes pass");
    let original = Some(6);
    assert_eq!(outcome, Outcome::Cut { bytes: 5, original }, "of six");
}

#[test]
fn chunks_before_the_cut_pass_whole_and_those_behind_it_are_never_polled() {
    // Rows 8, 9 and 10: the cut inside the only chunk, at a chunk's end, inside a later chunk.
    let cases: [(u64, &[&str]); 3] = [
        (2, &["ab"]),
        (6, &["abc", "def"]),
        (8, &["abc", "def", "gh"]),
    ];
    for (limit, expected) in cases {
        let body = Script::chunks(["abc", "def", "ghi", "jkl"]).sized();
        let polls = body.polls();
        let (seen, outcome) = cut(&Truncate::bytes(limit), body);
        assert_eq!(seen.frames, expected, "the frames of {limit} bytes");
        let polled = polls.load(Ordering::Relaxed);
        assert_eq!(
            polled,
            expected.len(),
            "no poll behind the limit of {limit} bytes"
        );
        let original = Some(12);
        assert_eq!(
            outcome,
            Outcome::Cut {
                bytes: limit,
                original
            },
            "it was cut"
        );
    }
}

#[test]
fn the_inner_body_is_dropped_in_the_poll_that_reaches_the_limit() {
    // Row 8, and what gives the connection back.
    use std::task::{Context, Waker};
    let body = Script::chunks(["abcdef", "ghi"]);
    let polls = body.polls();
    let mut cut = Box::pin(Truncate::bytes(4).apply(body.text()).into_body());
    assert_eq!(
        Arc::strong_count(&polls),
        2,
        "the body holds its inner body"
    );
    let frame = cut
        .as_mut()
        .poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(frame.is_ready(), "the frame is there");
    assert_eq!(Arc::strong_count(&polls), 1, "the inner body is gone");
    assert!(cut.is_end_stream(), "and that was all");
}

#[test]
fn a_body_of_unknown_length_that_ends_within_the_limit_passes_with_its_trailers() {
    // Rows 11 and 43.
    let body = Script::chunks(["abc"]).trailers("x-sum", "1");
    let response = Truncate::bytes(5).apply(body.text());
    assert_eq!(
        header(&response, "content-length"),
        None,
        "its length is not known"
    );
    let (seen, outcome) = finish(response);
    assert_eq!(seen.bytes(), b"abc", "all data passes");
    assert_eq!(seen.trailers.unwrap()["x-sum"], "1", "and the trailers");
    assert_eq!(outcome, Outcome::Complete { bytes: 3 }, "it is complete");
}

#[test]
fn a_body_of_unknown_length_that_is_longer_ends_at_the_limit_without_its_trailers() {
    // Rows 12 and 44.
    let body = Script::chunks(["abc", "def"]).trailers("x-sum", "1");
    let response = Truncate::bytes(5).apply(body.text());
    assert_eq!(
        header(&response, "content-length"),
        None,
        "the head knows no length"
    );
    assert_eq!(
        header(&response, "content-truncated"),
        None,
        "nor that it will be cut"
    );
    let (seen, outcome) = finish(response);
    assert_eq!(seen.bytes(), b"abcde", "the limit holds");
    assert!(
        seen.trailers.is_none(),
        "trailers of the whole do not follow a part"
    );
    assert_eq!(
        outcome,
        Outcome::Cut {
            bytes: 5,
            original: None
        },
        "it was cut"
    );
}

#[test]
fn data_is_never_held_back_to_learn_whether_the_limit_was_exact() {
    // Row 13.
    let (seen, outcome) = cut(&Truncate::bytes(3), Script::chunks(["abc"]).tells_end());
    assert_eq!(seen.bytes(), b"abc", "all passes");
    assert_eq!(
        outcome,
        Outcome::Complete { bytes: 3 },
        "the body says it has ended"
    );

    let (seen, outcome) = cut(&Truncate::bytes(3), Script::chunks(["abc"]));
    assert_eq!(seen.bytes(), b"abc", "all passes");
    assert_eq!(
        outcome,
        Outcome::LimitReached { bytes: 3 },
        "nobody waited to see"
    );
}

#[test]
fn the_largest_limit_is_no_limit() {
    // Row 14.
    for truncate in [Truncate::bytes(u64::MAX), Truncate::chars(u64::MAX)] {
        let (seen, outcome) = cut(&truncate, Script::chunks(["abc", "d\u{e9}f"]));
        assert_eq!(seen.bytes(), "abcd\u{e9}f".as_bytes(), "all passes");
        assert_eq!(outcome, Outcome::Complete { bytes: 7 }, "nothing overflows");
    }
}

#[test]
fn an_error_before_the_limit_is_an_error_and_never_a_clean_end() {
    // Rows 48, 50 and 53.
    let (seen, outcome) = cut(&Truncate::bytes(5), Script::chunks(["abc"]).error());
    assert_eq!(seen.bytes(), b"abc", "what came before it passes");
    let error = seen.error.expect("the error passes").to_string();
    assert_eq!(error, "the upstream went away", "it is the upstream's own");
    assert_eq!(outcome, Outcome::Failed, "it failed");
}

#[test]
fn an_error_behind_the_limit_is_nobodys() {
    // Row 49.
    let (seen, outcome) = cut(&Truncate::bytes(2), Script::chunks(["abc"]).error());
    assert!(seen.error.is_none(), "nobody asked for what failed");
    assert_eq!(
        outcome,
        Outcome::Cut {
            bytes: 2,
            original: None
        },
        "it was cut before"
    );
}

#[test]
fn dropping_the_body_early_drops_the_inner_body() {
    // Row 52.
    let body = Script::chunks(["abc"]);
    let polls = body.polls();
    let response = Truncate::bytes(5).apply(body.text());
    let truncation = truncation(&response);
    drop(response);
    assert_eq!(Arc::strong_count(&polls), 1, "the inner body is gone");
    assert_eq!(truncation.outcome(), Outcome::Pending, "it never ended");
}

#[test]
fn empty_frames_are_swallowed() {
    // Row 54. Row 55, frames of an unknown kind, cannot be made with this version of http-body.
    let (seen, _) = cut(
        &Truncate::bytes(9),
        Script::chunks(["", "a", "", "", "b", ""]),
    );
    assert_eq!(seen.frames, ["a", "b"], "only what has data passes");
    let untouched = Truncate::bytes(9).apply(Script::chunks(["", "a", ""]).sized().text());
    assert_eq!(
        read(untouched.into_body()).frames,
        ["a"],
        "also when nothing is cut"
    );
}

#[test]
fn trailers_pass_when_the_limit_is_exactly_what_there_is() {
    // Rows 21 and 43.
    let body = Script::chunks(["\u{e9}\u{e9}"])
        .sized()
        .trailers("x-sum", "1");
    let (seen, outcome) = cut(&Truncate::chars(2), body);
    assert_eq!(seen.bytes(), "\u{e9}\u{e9}".as_bytes(), "all data passes");
    assert!(
        seen.trailers.is_some(),
        "no data is left, so the trailers are true"
    );
    assert_eq!(outcome, Outcome::Complete { bytes: 4 }, "it is complete");
}
