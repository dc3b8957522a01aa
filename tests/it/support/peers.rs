//! Programs that are not ours, as `tests/peers/install` installs them.

use std::{
    env, fs,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Where a program is. Without it the test has nothing to prove: the reason is printed, and under
/// `REQUIRE_PEERS=1` it is a failure.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where only root's PATH leads.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into()]);
    or_skip(&[name], folders)
}

/// Where a browser is that knows Chromium's flags. As [`find`].
pub(crate) fn find_browser() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    or_skip(&["chromium", "google-chrome"], env::split_paths(&path))
}

/// Where a program of the Python environment is: `python` itself, or a server. As [`find`].
pub(crate) fn find_in_python(name: &str) -> Option<PathBuf> {
    or_skip(&[name], [scratch().with_file_name("peers/venv/bin")])
}

/// The first one of these names that there is.
fn or_skip(names: &[&str], folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let mut paths = folders
        .into_iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let found = paths.find(|path| path.is_file());
    if found.is_none() {
        let reason = format!(
            "{} is not installed; tests/peers/install does it",
            names.join(" or ")
        );
        let is_required = env::var_os("REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!is_required, "{reason}");
        // Not `eprintln`, which the harness keeps to itself when a test passes.
        let mut stderr = io::stderr();
        writeln!(stderr, "skipped: {reason}").unwrap();
    }
    found
}

/// A folder for one peer, gone with this value.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

/// A running peer with all its children, and its folder; both are gone with this value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) folder: Folder,
}

/// A socket for a peer to listen on: opened here, so that its port is free for certain, and what is
/// sent to it before the peer is up waits.
pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // As a server that inherits it supposes.
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = scratch().join(format!("peer-{}-{count}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        path
    }
}

fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it hurts nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Process {
    /// Starts a peer in a folder, with the first socket as its descriptor 0 and the second, if there
    /// is one, as 1. What it writes to 2 is in the folder's file `stderr`.
    pub(crate) fn start(
        command: &mut Command,
        folder: Folder,
        sockets: impl IntoIterator<Item = TcpListener>,
    ) -> Self {
        let mut sockets = sockets
            .into_iter()
            .map(|socket| OwnedFd::from(socket).into());
        let stderr = fs::File::create(folder.0.join("stderr")).unwrap();
        let child = command
            .current_dir(&folder.0)
            .stdin(sockets.next().unwrap_or_else(Stdio::null))
            .stdout(sockets.next().unwrap_or_else(Stdio::null))
            .stderr(stderr)
            // With a group of its own its children can be ended with it.
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the peer itself a signal: `HUP`, `QUIT`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(kill(name, &self.pid().to_string()), "it is running");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill("KILL", &format!("-{}", self.pid()));
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, whom: &str) -> bool {
    let mut kill = Command::new("kill");
    kill.args(["-s", signal, "--", whom]);
    kill.status().is_ok_and(|status| status.success())
}
