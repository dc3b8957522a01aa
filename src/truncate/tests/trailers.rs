use http::{Request, Response, Version};
use http_body::Body as _;
use tower::{Layer, Service};

use super::support::{Script, finish, header, truncation};
use crate::{Invalid, Truncate, TruncateBody, TruncationOutcome as Outcome};

/// The response to a request of this version, asked for over a layer.
fn ask(
    truncate: Truncate,
    version: Version,
    te: &str,
    body: Script,
) -> Response<TruncateBody<Script>> {
    let mut body = Some(body.text());
    let inner = tower::service_fn(move |_: Request<()>| {
        std::future::ready(Ok::<_, ()>(body.take().expect("one request is made")))
    });
    let request = Request::builder()
        .version(version)
        .header("te", te)
        .body(())
        .unwrap();
    let call = truncate.layer().layer(inner).call(request);
    futures_util::FutureExt::now_or_never(call)
        .expect("it is ready")
        .expect("it succeeds")
}

#[test]
fn a_client_of_http1_that_asks_for_no_trailers_gets_none() {
    // Row 45.
    let body = Script::chunks(["abcdef"]);
    let response = ask(Truncate::bytes(4), Version::HTTP_11, "gzip", body);
    assert_eq!(header(&response, "trailer"), None, "none is announced");
    let (seen, _) = finish(response);
    assert_eq!(seen.bytes(), b"abcd", "it is cut");
    assert!(seen.trailers.is_none(), "none is sent");
}

#[test]
fn a_client_that_can_have_trailers_is_told_of_a_cut_in_one() {
    // Rows 12, 46 and 47.
    let asked = [(Version::HTTP_11, "gzip, Trailers"), (Version::HTTP_2, "")];
    for (version, te) in asked {
        let body = Script::chunks(["abc", "def"]).trailers("x-sum", "1");
        let response = ask(Truncate::bytes(4), version, te, body);
        let announced = header(&response, "trailer");
        assert_eq!(
            announced,
            Some("content-truncated"),
            "{version:?}: it is announced"
        );
        let exact = response.body().size_hint().exact();
        assert_eq!(
            exact, None,
            "{version:?}: the body is to be framed in chunks"
        );
        let (seen, _) = finish(response);
        let trailers = seen.trailers.expect("it is sent");
        let told = &trailers["content-truncated"];
        assert_eq!(
            told, "length;limit=4;unit=byte",
            "{version:?}: it tells of the cut"
        );
        assert_eq!(
            trailers.len(),
            1,
            "{version:?}: the trailers of the whole do not follow"
        );
    }
}

#[test]
fn a_body_that_was_not_cut_keeps_its_own_trailers() {
    // Row 43.
    let body = Script::chunks(["abc"]).trailers("x-sum", "1");
    let (seen, _) = finish(ask(Truncate::bytes(4), Version::HTTP_2, "", body));
    let trailers = seen.trailers.expect("they pass");
    assert_eq!(trailers["x-sum"], "1", "as they are");
    assert_eq!(trailers.len(), 1, "and nothing is added");
}

#[test]
fn a_digest_in_the_trailers_passes_only_with_the_bytes_that_it_is_of() {
    // Row 43.
    let digest = || Script::chunks(["abc"]).trailers("content-digest", "sha-256=:AAAA:");
    let keep = Truncate::chars(4);
    let (seen, _) = finish(keep.clone().apply(digest().text()));
    assert_eq!(
        seen.trailers.unwrap().len(),
        1,
        "the bytes are as they were"
    );
    let (seen, _) = finish(keep.invalid(Invalid::Replace).apply(digest().text()));
    assert!(
        seen.trailers.unwrap().is_empty(),
        "they may have been replaced"
    );
}

#[test]
fn a_cut_that_the_header_tells_of_needs_no_trailer() {
    let body = Script::chunks(["abcdef"]).sized();
    let response = ask(Truncate::bytes(4), Version::HTTP_2, "", body);
    assert_eq!(header(&response, "trailer"), None, "none is announced");
    assert_eq!(
        response.body().size_hint().exact(),
        Some(4),
        "the length is exact"
    );
    assert!(finish(response).0.trailers.is_none(), "none is sent");
}

#[test]
fn of_a_limit_that_was_just_reached_no_cut_is_claimed() {
    // Row 13.
    let (seen, _) = finish(ask(
        Truncate::bytes(3),
        Version::HTTP_2,
        "",
        Script::chunks(["abc"]),
    ));
    assert!(seen.trailers.is_none(), "the body may have been complete");
}

#[test]
fn a_body_that_may_end_in_trailers_hints_at_its_data_and_at_no_end_of_it() {
    let body = Script::chunks(["abcdefghij"]).sized();
    let response = ask(Truncate::chars(5), Version::HTTP_2, "", body);
    let hint = response.body().size_hint();
    assert_eq!((hint.lower(), hint.upper()), (5, None));
}

#[test]
fn the_outcome_is_told_with_the_last_frame_of_a_body_that_knows_its_end() {
    let body = Script::chunks(["abc", "def"]).tells_end();
    let response = Truncate::chars(9).apply(body.text());
    let truncation = truncation(&response);
    let mut body = std::pin::pin!(response.into_body());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..2 {
        assert_eq!(truncation.outcome(), Outcome::Pending, "more may come");
        assert!(body.as_mut().poll_frame(&mut context).is_ready());
    }
    assert_eq!(
        truncation.outcome(),
        Outcome::Complete { bytes: 6 },
        "nobody polls a body that says it has ended"
    );
}

#[test]
fn a_cut_that_only_the_trailer_tells_of_is_told_with_the_length_of_the_whole() {
    let body = Script::chunks(["abcdefghij"]).sized();
    let response = ask(Truncate::chars(5), Version::HTTP_2, "", body);
    let trailers = finish(response).0.trailers.expect("it is sent");
    assert_eq!(
        trailers["content-truncated"],
        "length;limit=5;unit=char;size=10"
    );
}

#[test]
fn of_a_body_that_is_known_to_be_whole_no_trailer_is_announced() {
    let body = Script::chunks(["abcde"]).sized();
    let response = ask(Truncate::chars(5), Version::HTTP_2, "", body);
    assert_eq!(header(&response, "trailer"), None);
    assert_eq!(response.body().size_hint().exact(), Some(5));
}

#[test]
fn of_a_body_that_will_not_come_no_trailer_is_announced() {
    let truncate = Truncate::bytes(4);
    let request = Request::head("/").version(Version::HTTP_2);
    let asked = truncate.ask(&mut request.body(()).unwrap());
    let response = truncate.answer(&asked, Script::chunks(["abcdef"]).text());
    assert_eq!(header(&response, "trailer"), None);
}
