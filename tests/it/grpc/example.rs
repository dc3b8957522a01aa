//! `examples/tonic_service`, as a user runs it.

use crate::support::examples::example;

#[tokio::test]
async fn the_example_calls_both_upstreams_and_stops() {
    let output = example("tonic_service")
        .arg("--once")
        .output()
        .await
        .unwrap();
    let (said, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{error}");
    for line in [
        "read: a | page | of | six | short | words",
        "read: NotFound, 404 Not Found",
        "count: 3",
        "split: [\"one\", \"by\", \"one\"]",
        "join: all as one",
        "shout: [\"BOTH\", \"WAYS\"]",
    ] {
        assert!(said.lines().any(|l| l == line), "{line} is in:\n{said}");
    }
}
