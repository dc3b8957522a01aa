use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::Empty;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{BoxError, service_fn};
use tower_upstream::{Format, Gather, Order, Truncate};

use super::support::*;

/// Pages that answer after 250, 200, ... milliseconds.
async fn later_first(index: usize) -> Answer {
    pause(250 - 50 * index as u64).await;
    Ok(page([
        send(format!("page {index}: ")),
        send("é".repeat(100)),
    ]))
}

#[tokio::test(start_paused = true)]
async fn the_answers_come_in_request_order_each_cut_with_a_blank_line_between() {
    let started = Instant::now();
    let gather = Gather::get(uris(5)).truncate(Truncate::chars(50));
    let response = gather.send(&upstream(later_first)).await;

    assert_eq!(response.status(), StatusCode::OK);
    let header = |name| response.headers()[name].to_str().unwrap();
    assert_eq!(header(header::CONTENT_TYPE), "text/plain; charset=utf-8");
    assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert_eq!(header(header::CACHE_CONTROL), "no-store");

    let expected: Vec<_> = (0..5)
        .map(|index| format!("page {index}: {}", "é".repeat(42)))
        .collect();
    assert_eq!(
        read(response).await,
        expected.join("\n\n"),
        "exactly 50 characters of each, whichever was there first"
    );
    assert_eq!(
        started.elapsed(),
        Duration::from_millis(250),
        "the whole takes as long as the slowest leg, not as all of them"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_text_is_out_before_the_last_head_is_in() {
    let service = upstream(async |index| {
        pause(100 * (index as u64 + 1)).await;
        Ok(page([send(format!("page {index}"))]))
    });
    let started = Instant::now();
    let mut body = Gather::get(uris(3)).send(&service).await.into_body();
    let mut pieces = Vec::new();
    while let Some(piece) = next(&mut body).await {
        pieces.push((started.elapsed().as_millis(), piece));
    }
    let expected = [(100, "page 0"), (200, "\n\npage 1"), (300, "\n\npage 2")];
    assert_eq!(
        pieces,
        expected.map(|(at, piece)| (at, piece.to_owned())),
        "each text goes out the moment it is there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leg_streams_while_it_is_its_turn_and_is_read_ahead_before() {
    let service = upstream(async |_| {
        let steps = [
            send("a"),
            Step::Wait(100),
            send("b"),
            Step::Wait(100),
            send("c"),
        ];
        Ok(page(steps))
    });
    let mut body = Gather::get(uris(2)).send(&service).await.into_body();
    let mut pieces = Vec::new();
    while let Some(piece) = next(&mut body).await {
        pieces.push(piece);
    }
    assert_eq!(
        pieces,
        ["a", "b", "c\n\nabc"],
        "the first comes as it is sent, the second was there by then"
    );
    assert!(ended(&body), "the last piece told that it was the last");
}

#[tokio::test(start_paused = true)]
async fn in_completion_order_whoever_is_done_first_is_first() {
    let gather = Gather::get(uris(3)).truncate(Truncate::chars(6));
    let response = gather
        .order(Order::Completion)
        .format(Format::text().separator(" | "))
        .send(&upstream(later_first))
        .await;
    assert_eq!(read(response).await, "page 2 | page 1 | page 0");
}

#[tokio::test(start_paused = true)]
async fn ndjson_is_one_object_a_leg_and_the_counts() {
    let service = upstream(async |index| match index {
        0 => {
            pause(50).await;
            Ok(text("say \"hi\"\n"))
        }
        1 => Err("secret".into()),
        2 => Ok(page([send("half"), Step::Break])),
        _ => Ok(text("more than ten")),
    });
    let gather = Gather::get(uris(4)).truncate(Truncate::chars(10));
    let gather = gather.order(Order::Completion).format(Format::ndjson());
    let response = gather.send(&service).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/x-ndjson"
    );

    let text = read(response).await;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let failed = json!({"kind": "failed", "message": "upstream request failed", "status": 502});
    let broken = json!({
        "kind": "http_response_incomplete",
        "message": "upstream response broke off",
        "status": 502,
    });
    let expected = [
        json!({"index": 1, "error": failed}),
        json!({"index": 2, "status": 200, "text": "half", "truncated": true, "error": broken}),
        json!({"index": 3, "status": 200, "text": "more than ", "truncated": true}),
        json!({"index": 0, "status": 200, "text": "say \"hi\"\n", "truncated": false}),
        json!({"done": true, "ok": 2, "failed": 2}),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(start_paused = true)]
async fn json_is_an_array_in_request_order_whatever_the_texts_hold() {
    let all: String = (0..0x300).filter_map(char::from_u32).collect();
    let sent = all.clone();
    let service = upstream(move |index| {
        let sent = sent.clone();
        async move {
            pause(100 - index as u64).await;
            Ok(page([send(sent)]))
        }
    });
    let response = Gather::get(uris(2))
        .format(Format::json())
        .send(&service)
        .await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let array: Value = serde_json::from_str(&read(response).await).unwrap();
    let leg = |index| json!({"index": index, "status": 200, "text": all, "truncated": false});
    assert_eq!(
        array,
        json!([leg(0), leg(1)]),
        "every control character is escaped"
    );
}

#[tokio::test(start_paused = true)]
async fn characters_may_come_in_pieces_and_malformed_ones_are_replaced() {
    let bytes = b"\xEF\xBB\xBFna\xC3\xAFve \xE2\x82\xAC\xFF\xF0\x9F\x98\x80\xC3".as_slice();
    for limit in [Truncate::chars(100), Truncate::bytes(100)] {
        for size in 1..=bytes.len() {
            let service = upstream(move |_| async move { Ok(page(bytes.chunks(size).map(send))) });
            let response = Gather::get(uris(1))
                .truncate(limit.clone())
                .send(&service)
                .await;
            assert_eq!(
                read(response).await,
                "na\u{EF}ve \u{20AC}\u{FFFD}\u{1F600}\u{FFFD}",
                "chunks of {size} bytes give the same text"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_by_bytes_leaves_no_half_character() {
    let service = upstream(async |_| Ok(text("aéé")));
    let response = Gather::get(uris(1))
        .truncate(Truncate::bytes(4))
        .send(&service)
        .await;
    assert_eq!(
        read(response).await,
        "aé",
        "the fourth byte was half a character"
    );
}

#[tokio::test(start_paused = true)]
async fn every_type_is_cut_as_text_and_asked_for_without_a_coding() {
    let service = service_fn(async |request: Request<Empty<_>>| {
        let asked = request.headers();
        assert_eq!(asked[header::ACCEPT_ENCODING], "identity");
        assert!(!asked.contains_key(header::RANGE), "a part cannot be cut");
        let mut page = text("{\"a\": 1}");
        let kind = "application/json".parse().unwrap();
        page.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok::<_, BoxError>(page)
    });
    let mut request = Request::get("http://upstream/").header(header::RANGE, "bytes=0-1");
    request = request.header(header::ACCEPT_ENCODING, "br");
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let gather = Gather::new([request]).truncate(Truncate::chars(3));
    assert_eq!(read(gather.send(&service).await).await, "{\"a");
}

#[tokio::test(start_paused = true)]
async fn no_legs_make_an_empty_answer() {
    let service = upstream(async |_| unreachable!("nothing is asked"));
    let formats = [
        (Format::text(), ""),
        (Format::json(), "[]\n"),
        (Format::ndjson(), "{\"done\":true,\"ok\":0,\"failed\":0}\n"),
    ];
    for (format, empty) in formats {
        let response = Gather::get([""; 0]).format(format).send(&service).await;
        assert_eq!(response.status(), StatusCode::OK, "nothing failed");
        assert_eq!(read(response).await, empty);
    }
}
