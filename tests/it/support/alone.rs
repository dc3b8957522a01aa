//! Tests in a process of their own, for what a process has only one of.

use std::process::{Command, Output};

const ALONE: &str = "TEST_ALONE";

/// Whether this process runs one test at a time, and nothing else.
pub(crate) fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// Runs the tests that these arguments name, one after the other in a process of their own.
/// `shell` is what a shell does first.
pub(crate) fn run_alone(shell: &str, arguments: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{shell}\nexec \"$0\" \"$@\"")])
        .arg(test)
        .args(["--test-threads", "1", "--nocapture"])
        .args(arguments)
        .env(ALONE, "1")
        .output()
        .unwrap()
}

/// As [`run_alone`]; all of them pass, and they are at least one.
pub(crate) fn assert_pass_alone(shell: &str, arguments: &[&str]) {
    let output = run_alone(shell, arguments);
    let out = String::from_utf8_lossy(&output.stdout);
    let told = format!("{out}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?} failed:\n{told}");
    assert!(!out.contains("running 0 tests"), "{arguments:?} is no test");
}

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
