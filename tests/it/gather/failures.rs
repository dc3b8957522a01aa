use http::StatusCode;
use tower::load_shed::error::Overloaded;
use tower_upstream::{Gather, Origin, Truncate};

use super::support::*;

#[tokio::test(start_paused = true)]
async fn what_went_wrong_stands_in_its_place_in_plain_words() {
    let service = upstream(async |index| match index {
        1 => Err("10.0.0.7 refused, password hunter2".into()),
        2 => {
            let mut page = text("no such page\n");
            *page.status_mut() = StatusCode::NOT_FOUND;
            Ok(page)
        }
        3 => Ok(page([send("half of a sto"), Step::Wait(10), Step::Break])),
        4 => {
            let mut page = text("as good as noise");
            let coding = "aes128gcm".parse().unwrap();
            page.headers_mut().insert("content-encoding", coding);
            Ok(page)
        }
        5 => Ok(page([])),
        _ => Ok(text("fine")),
    });
    let uris = uris(7).chain(["not a uri".to_owned()]);
    let response = Gather::get(uris)
        .truncate(Truncate::chars(50))
        .send(&service)
        .await;
    assert_eq!(response.status(), StatusCode::OK, "some succeeded");
    let expected = [
        "fine",
        "[1: upstream request failed]",
        "[2: status 404 Not Found]\nno such page\n",
        "half of a sto\n[3: upstream response broke off]",
        "[4: upstream response could not be decoded]",
        "",
        "fine",
        "[7: invalid upstream target]",
    ];
    assert_eq!(
        read(response).await,
        expected.join("\n\n"),
        "each failure is told where the answer would be, and tells no secret"
    );
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_status_is_the_worst() {
    type Fail = fn() -> Answer;
    let shed: Fail = || Err(Overloaded::new().into());
    let refused: Fail = || Err("refused".into());
    let relative: Fail = || Err("/".parse::<Origin>().unwrap_err().into());
    fn status<const STATUS: u16>() -> Answer {
        let mut page = text("sorry");
        *page.status_mut() = StatusCode::from_u16(STATUS).unwrap();
        Ok(page)
    }
    let cases: [(Vec<Fail>, u16); 7] = [
        (vec![shed, shed], 503),
        (vec![shed, status::<504>], 504),
        (vec![status::<504>, refused, shed], 502),
        (vec![relative], 502),
        (vec![status::<404>, shed], 502),
        (vec![status::<503>], 503),
        (vec![shed, status::<201>], 200),
    ];
    for (fails, status) in cases {
        let legs = fails.len();
        let service = upstream(move |index| std::future::ready(fails[index]()));
        let response = Gather::get(uris(legs)).send(&service).await;
        assert_eq!(
            response.status(),
            status,
            "of {legs} legs, the worst decides"
        );
        let when = response.headers().get("retry-after");
        assert_eq!(
            when.is_some_and(|when| when == "1"),
            status == 503,
            "who was turned away by all may come again, and soon"
        );
        let text = read(response).await;
        assert_eq!(text.split("\n\n").count(), legs, "each is told: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_waits_for_the_first_success_and_no_longer() {
    let started = tokio::time::Instant::now();
    let service = upstream(async |index| {
        pause(100 * index as u64).await;
        if index < 2 {
            return Err("refused".into());
        }
        Ok(text("fine"))
    });
    let response = Gather::get(uris(4)).send(&service).await;
    assert_eq!(response.status(), StatusCode::OK);
    let waited = started.elapsed().as_millis();
    assert_eq!(waited, 200, "the third leg's head decides");
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_cut_and_the_others_are_not_affected() {
    let service = upstream(async |index| {
        if index == 1 {
            return Ok(page(std::iter::repeat_with(|| send("again "))));
        }
        Ok(text("fine"))
    });
    let gather = Gather::get(uris(3)).max_output(60);
    assert_eq!(
        read(gather.send(&service).await).await,
        "fine\n\nagain again again ag\n[1: cut at the output limit]\n\nfine",
        "each leg has its own share of the output"
    );
}
