//! The examples as processes of their own.

use tokio::process::Command;

/// What runs an example. Cargo builds them with the tests, beside the tests' own folder.
pub(crate) fn example(name: &str) -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    Command::new(path.join(name))
}
