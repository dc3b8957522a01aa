//! Each example, run to its end, says what its first comment promises.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::{Server, examples::example, sized};

/// Longer than any example takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an example prints until it ends, which it does with success.
async fn output(name: &str, arguments: &[&str]) -> String {
    let mut command = example(name);
    command.args(arguments).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let (text, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{name}: {text}\n{error}");
    text
}

/// The whole lines that begin so, without that beginning.
fn lines<'a>(text: &'a str, beginning: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(beginning))
        .collect()
}

#[tokio::test]
async fn previews_are_the_first_fifty_characters_of_five_pages() {
    let text = output("previews", &["--once"]).await;
    let pages: Vec<_> = text.split("\n\n").take(5).map(str::trim_end).collect();
    assert_eq!(
        pages,
        [
            "A page whose length is told in its head, as most p",
            "Ein Häuflein größerer Wörter, stückweise über die",
            "This page takes its time before it says anything a",
            "長い物語は始まりから読む。長い物語は始まりから読む。長い物語は始まりから読む。長い物語は始まりから読",
            "🦀 short 🦀",
        ]
    );
    assert_eq!(lines(&text, "[pool] ").len(), 1);
}

#[tokio::test]
async fn the_reverse_proxy_passes_on_requests_and_websockets_and_names_the_client() {
    let text = output("reverse_proxy", &["--once"]).await;
    assert_eq!(lines(&text, "/health: "), ["ok"], "its own handler");
    let [hello] = lines(&text, "/hello: ")[..] else {
        panic!("one line: {text}")
    };
    assert!(hello.starts_with("hello, for=127.0.0.1;host="), "{hello}");
    assert_eq!(lines(&text, "/echo: "), ["a WebSocket says hello"]);
}

#[tokio::test]
async fn the_reverse_proxy_goes_to_another_origin_when_told_to() {
    let elsewhere = Server::answering(|_| async { sized("never asked") }).await;
    let text = output("reverse_proxy", &["--once", &elsewhere.uri("")]).await;
    assert_eq!(text, "/health: ok\n", "it tries only what is its own");
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn hosts_are_unix_sockets_by_a_connector_of_ones_own() {
    let text = output("unix_socket", &[]).await;
    let legs: Vec<_> = text.split("\n\n").take(3).collect();
    let [users, orders, nobody] = legs[..] else {
        panic!("three legs: {text}")
    };
    assert_eq!((users, orders), ("I am users", "I am orders"));
    assert_eq!(nobody, "[2: upstream connect failed]");
    assert!(text.contains("opened 2,"), "a socket each: {text}");
}

#[tokio::test]
async fn all_requests_are_answered_by_three_replicas_within_a_budget_of_retries() {
    let text = output("balance", &[]).await;
    let of = |name: &str| -> usize {
        let [line] = lines(&text, name)[..] else {
            panic!("one line of {name}: {text}")
        };
        line.split(' ').next().unwrap().parse().unwrap()
    };
    let answered = of("ready: ") + of("starting: ") + of("slow: ");
    assert_eq!(answered, 60, "{text}");
    assert!(of("retries: ") <= 5, "one for each refusal: {text}");
}

#[tokio::test]
async fn what_can_finish_before_the_deadline_does_and_the_rest_is_cut_short_then() {
    let text = output("graceful_shutdown", &["--once"]).await;
    assert_eq!(
        lines(&text, "clients: "),
        ["8 have their report, 2 know that it broke off"],
        "{text}"
    );
    assert!(text.contains(", 2 cut short"), "{text}");
    assert!(text.contains("[pool] open 0 "), "{text}");
}
