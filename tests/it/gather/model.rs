//! Whatever the upstreams do and when, the joined text is what a simple model says.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use proptest::prelude::*;
use tokio::{sync::Semaphore, time::timeout};
use tower_upstream::{Format, Gather, Order, Truncate};

use super::support::*;

const LIMIT: usize = 12;

/// What one upstream does.
#[derive(Clone, Debug)]
struct Script {
    head_after: u64,
    head: Head,
    /// The pieces of its text, and how long it waits before each.
    chunks: Vec<(u64, Bytes)>,
    breaks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Head {
    Ok,
    NotFound,
    Refused,
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let head = prop_oneof![
        6 => Just(Head::Ok),
        1 => Just(Head::NotFound),
        1 => Just(Head::Refused),
    ];
    let text = prop::collection::vec(prop::sample::select(vec!['a', 'é', '€', '😀']), 0..20);
    let pauses = prop::collection::vec((0..20u64, 1..8usize), 60);
    let script = (0..50u64, head, text, pauses, prop::bool::weighted(0.2));
    let script = script.prop_map(|(head_after, head, text, pauses, breaks)| Script {
        head_after,
        head,
        chunks: pieces(text.into_iter().collect::<String>().into(), &pauses),
        breaks,
    });
    prop::collection::vec(script, 0..8)
}

/// Pieces that may end within a character.
fn pieces(mut text: Bytes, pauses: &[(u64, usize)]) -> Vec<(u64, Bytes)> {
    let mut piece = |&(pause, size): &(u64, usize)| {
        let size = size.min(text.len());
        (size > 0).then(|| (pause, text.split_to(size)))
    };
    pauses.iter().map_while(&mut piece).collect()
}

/// A leg as whoever reads all of it has it.
fn expect(index: usize, script: &Script) -> String {
    let bytes = script.chunks.iter().flat_map(|(_, chunk)| chunk).copied();
    let text = String::from_utf8(bytes.collect()).unwrap();
    let mut lines = Vec::new();
    match script.head {
        Head::Refused => return format!("[{index}: upstream request failed]"),
        Head::NotFound => lines.push(format!("[{index}: status 404 Not Found]")),
        Head::Ok => {}
    }
    if !text.is_empty() {
        lines.push(text.chars().take(LIMIT).collect());
    }
    // What comes after the limit is nobody's business.
    if script.breaks && text.chars().count() < LIMIT {
        lines.push(format!("[{index}: upstream response broke off]"));
    }
    lines.join("\n")
}

async fn play(script: Script) -> Answer {
    pause(script.head_after).await;
    let last = script.breaks.then_some(Step::Break);
    let steps = script.chunks.into_iter();
    let steps = steps.flat_map(|(pause, chunk)| [Step::Wait(pause), Step::Send(chunk)]);
    let mut page = page(steps.chain(last));
    match script.head {
        Head::Refused => return Err("refused".into()),
        Head::NotFound => *page.status_mut() = StatusCode::NOT_FOUND,
        Head::Ok => {}
    }
    Ok(page)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let patient = async { timeout(Duration::from_secs(3600), future).await };
    runtime.block_on(patient).expect("nothing stalls")
}

proptest! {
    #[test]
    fn the_joined_text_is_the_model_s(
        scripts in scripts(),
        cap in 1..4usize,
        at_once in 1..10usize,
        by_request: bool,
    ) {
        let mut expected: Vec<_> = scripts.iter().enumerate().map(|(n, leg)| expect(n, leg)).collect();
        let legs = scripts.len();
        let slots = Arc::new(Semaphore::new(cap));
        let service = upstream(move |index| {
            let (slots, script) = (slots.clone(), scripts[index].clone());
            async move {
                let slot = slots.acquire_owned().await?;
                Ok(holding(play(script).await?, slot))
            }
        });
        let order = if by_request { Order::Request } else { Order::Completion };
        let gather = Gather::get(uris(legs)).order(order).truncate(Truncate::chars(LIMIT as u64));
        let gather = gather.format(Format::text().separator("|")).max_concurrent(at_once);
        let text = run(async { read(gather.send(&service).await).await });

        let mut text: Vec<_> = text.split('|').map(str::to_owned).collect();
        if legs == 0 {
            expected.push(String::new());
        }
        if !by_request {
            expected.sort();
            text.sort();
        }
        prop_assert_eq!(text, expected);
    }
}
