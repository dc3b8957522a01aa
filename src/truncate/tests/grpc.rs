use http::{HeaderMap, StatusCode};
use http_body::Body as _;

use super::support::{Script, Seen, finish, header, read, truncation};
use crate::{Truncate, Truncation, TruncationOutcome as Outcome, Uncuttable};

/// One message as it is on the wire.
pub(super) fn message(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[0], &length[..], content].concat()
}

fn messages(contents: &[&str]) -> Vec<u8> {
    contents
        .iter()
        .flat_map(|content| message(content.as_bytes()))
        .collect()
}

fn cut(truncate: &Truncate, body: Script) -> (Seen, Outcome) {
    finish(truncate.apply(body.with([("content-type", "application/grpc")])))
}

fn status(seen: &Seen) -> Option<&str> {
    let trailers: &HeaderMap = seen.trailers.as_ref()?;
    Some(trailers.get("grpc-status")?.to_str().unwrap())
}

#[test]
fn a_unary_message_within_the_limit_is_untouched() {
    // Row 83.
    let truncate = Truncate::grpc_messages(1).longest_message(5);
    let body = Script::chunks([messages(&["hello"])]).trailers("grpc-status", "0");
    let (seen, outcome) = cut(&truncate, body);
    assert_eq!(seen.bytes(), messages(&["hello"]), "the message passes");
    assert_eq!(status(&seen), Some("0"), "so does its status");
    assert_eq!(outcome, Outcome::Complete { bytes: 10 }, "it is complete");
}

#[test]
fn of_a_unary_message_that_is_too_large_nothing_passes_but_a_status() {
    // Row 84. Its length is in the content, behind the head, so the status is in the trailers.
    for truncate in [
        Truncate::grpc_messages(1),
        Truncate::grpc_messages(1).take(),
    ] {
        let body = Script::chunks([messages(&["hello!"])]).trailers("grpc-status", "0");
        let (seen, outcome) = cut(&truncate.longest_message(5), body);
        assert!(seen.frames.is_empty(), "not even the prefix passes");
        assert_eq!(
            status(&seen),
            Some("8"),
            "a client cannot take it for an empty success"
        );
        assert_eq!(
            outcome,
            Outcome::Cut {
                bytes: 0,
                original: None
            },
            "it was cut"
        );
    }
}

#[test]
fn a_stream_of_more_messages_ends_behind_the_last_whole_one_with_a_status() {
    // Row 85.
    let cases = [
        (Truncate::grpc_messages(2), "8"),
        (Truncate::grpc_messages(2).take(), "0"),
    ];
    for (truncate, code) in cases {
        let body = Script::chunks([messages(&["a", "", "c"])]).trailers("grpc-status", "0");
        let (seen, outcome) = cut(&truncate, body);
        assert_eq!(
            seen.bytes(),
            messages(&["a", ""]),
            "two whole messages pass"
        );
        assert_eq!(status(&seen), Some(code), "with a status of our own");
        let trailers = seen.trailers.unwrap();
        let told = &trailers["content-truncated"];
        assert_eq!(
            told, "length;limit=2;unit=message",
            "which tells of the cut"
        );
        assert_eq!(
            trailers.contains_key("grpc-message"),
            code == "8",
            "a failure has a message"
        );
        assert_eq!(
            outcome,
            Outcome::Cut {
                bytes: 11,
                original: None
            },
            "it was cut"
        );
    }
}

#[test]
fn a_stream_of_exactly_as_many_messages_keeps_its_own_status() {
    // Row 86.
    for code in ["0", "5"] {
        let body =
            Script::chunks([messages(&["a"]), messages(&["b"])]).trailers("grpc-status", code);
        let (seen, outcome) = cut(&Truncate::grpc_messages(2), body);
        assert_eq!(seen.bytes(), messages(&["a", "b"]), "all messages pass");
        assert_eq!(
            status(&seen),
            Some(code),
            "and the upstream's status {code}"
        );
        assert_eq!(outcome, Outcome::Complete { bytes: 12 }, "it is complete");
    }
}

#[test]
fn a_prefix_split_over_frames_is_put_together_and_never_passes_beyond_the_cut() {
    // Row 87.
    let wire = messages(&["hello", "there", "you"]);
    let bytes = wire.iter().map(|byte| [*byte]);
    let (seen, _) = cut(&Truncate::grpc_messages(2), Script::chunks(bytes.clone()));
    assert_eq!(
        seen.bytes(),
        messages(&["hello", "there"]),
        "two messages pass"
    );
    assert_eq!(status(&seen), Some("8"), "and a status");
    let (seen, _) = cut(
        &Truncate::grpc_messages(9).longest_message(4),
        Script::chunks(bytes),
    );
    assert!(
        seen.frames.is_empty(),
        "what is held back of a prefix is not let go"
    );
}

#[test]
fn no_message_at_all_is_a_failure_and_not_an_empty_success() {
    // Row 88.
    let body = || Script::chunks([messages(&["hello"])]).trailers("grpc-status", "0");
    let (seen, _) = cut(&Truncate::grpc_messages(0), body());
    assert!(seen.frames.is_empty(), "nothing passes");
    assert_eq!(status(&seen), Some("8"), "but a status");
    let empty = Script::chunks([""; 0]).trailers("grpc-status", "0");
    let (seen, _) = cut(&Truncate::grpc_messages(0), empty);
    assert_eq!(
        status(&seen),
        Some("0"),
        "a stream without messages is within the limit"
    );
}

#[test]
fn a_response_that_is_only_a_status_is_untouched() {
    // Row 89.
    let headers = [
        ("content-type", "application/grpc"),
        ("grpc-status", "7"),
        ("etag", "x"),
    ];
    let response = Script::chunks([""; 0]).sized().with(headers);
    let before = response.headers().clone();
    let response = Truncate::grpc_messages(1).apply(response);
    assert_eq!(response.headers(), &before, "every header stays");
    assert!(response.body().is_end_stream(), "it has no content");
}

#[test]
fn an_upstream_that_breaks_off_is_told_by_a_bad_status_between_messages_and_inside_one() {
    // Row 90.
    let wire = messages(&["hello"]);
    for part in 0..=wire.len() {
        let body = Script::chunks([&wire[..part]]).error();
        let (seen, outcome) = cut(&Truncate::grpc_messages(5), body);
        assert!(
            wire.starts_with(&seen.bytes()),
            "what came passes, up to a whole prefix"
        );
        assert_eq!(
            status(&seen),
            Some("14"),
            "and a bad status, {part} bytes into a message"
        );
        assert_eq!(outcome, Outcome::Failed, "it failed");
    }
}

#[test]
fn a_good_status_never_follows_part_of_a_message() {
    // Row 90: a client takes it for the end of a good stream.
    let wire = messages(&["hello"]);
    for part in 1..wire.len() {
        let body = || Script::chunks([&wire[..part]]);
        for body in [
            body(),
            body().trailers("grpc-status", "0"),
            body().tells_end(),
        ] {
            let (seen, outcome) = cut(&Truncate::grpc_messages(5), body);
            assert_eq!(
                status(&seen),
                Some("13"),
                "{part} bytes of a message are no good end"
            );
            assert_eq!(outcome, Outcome::Failed, "it failed");
        }
        let (seen, _) = cut(
            &Truncate::grpc_messages(5),
            body().trailers("grpc-status", "5"),
        );
        assert_eq!(
            status(&seen),
            Some("5"),
            "a bad status may follow, and says more"
        );
    }
}

#[test]
fn only_grpc_is_cut_by_messages() {
    // Rows 91, 93 and 94, from the other side.
    for kind in [
        "text/plain",
        "application/grpc-web+proto",
        "application/grpc-web-text",
    ] {
        let wire = || Script::chunks([messages(&["a", "b"])]).with([("content-type", kind)]);
        let response = Truncate::grpc_messages(1).apply(wire());
        assert!(
            response.extensions().get::<Truncation>().is_none(),
            "{kind} is not counted"
        );
        assert_eq!(
            read(response.into_body()).bytes().len(),
            12,
            "{kind} passes"
        );
        let refuse = Truncate::grpc_messages(1).uncuttable(Uncuttable::Refuse);
        let response = refuse.apply(wire());
        assert_eq!(
            truncation(&response).outcome(),
            Outcome::Refused,
            "{kind} is refused"
        );
    }
    let refuse = Truncate::chars(1).any_type().uncuttable(Uncuttable::Refuse);
    let kind = [("content-type", "application/grpc+proto")];
    let response = refuse.apply(Script::chunks([messages(&["a"])]).with(kind));
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "gRPC is refused in its own terms"
    );
    assert_eq!(header(&response, "grpc-status"), Some("8"), "by a status");
    let kind = header(&response, "content-type");
    assert_eq!(
        kind,
        Some("application/grpc+proto"),
        "of the type that was asked for"
    );
    assert!(response.body().is_end_stream(), "without content");
}

#[test]
fn a_length_is_never_derived_nor_kept() {
    // Row 95.
    let body = Script::chunks([messages(&["a"])]).sized();
    let response =
        Truncate::grpc_messages(1).apply(body.with([("content-type", "application/grpc")]));
    assert_eq!(
        header(&response, "content-length"),
        None,
        "no length is stated"
    );
    assert_eq!(response.body().size_hint().exact(), None, "nor hinted");
    let mut request = http::Request::new(());
    request
        .headers_mut()
        .insert("range", "bytes=0-1".parse().unwrap());
    Truncate::grpc_messages(1).prepare(&mut request);
    assert_eq!(
        request.headers().len(),
        1,
        "a request for messages is left as it is"
    );
}

#[test]
fn a_limit_of_no_messages_states_no_length_since_a_status_follows() {
    let body = Script::chunks([messages(&["a"])]).trailers("grpc-status", "0");
    let response =
        Truncate::grpc_messages(0).apply(body.with([("content-type", "application/grpc")]));
    assert_eq!(header(&response, "content-length"), None);
    let (seen, _) = finish(response);
    assert_eq!(status(&seen), Some("8"), "the status is in the trailers");
    let told = &seen.trailers.as_ref().unwrap()["content-truncated"];
    assert_eq!(told, "length;limit=0;unit=message");
}
