//! The servers, and a `Forward` to each in either version of HTTP.

use std::{net::SocketAddr, path::Path, process::Command};

use http::Version;
use tower_upstream::{Forward, Upstream};

use crate::{
    forward::in_version,
    support::peers::{self, Folder, Process},
};

/// An nginx that speaks HTTP/1.1 at one address and HTTP/2 at another.
#[derive(Debug)]
pub(super) struct Nginx {
    pub(super) process: Process,
    http1: SocketAddr,
    http2: SocketAddr,
}

/// A Hypercorn with `tests/peers/app.py`: it speaks both versions at its one address.
#[derive(Debug)]
pub(super) struct Hypercorn {
    _process: Process,
    pub(super) address: SocketAddr,
}

impl Nginx {
    /// With these directives in its one `server`, whose files are in the folder's `html`.
    pub(super) fn start(server: &str) -> Option<Self> {
        let program = peers::find("nginx")?;
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("html")).unwrap();
        let ((one, http1), (two, http2)) = (peers::listener(), peers::listener());
        folder.write("nginx.conf", config(http1, http2, server));
        let mut command = Command::new(program);
        command
            .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
            .arg(folder.path())
            // The descriptors that it has inherited, as from the nginx it takes over from.
            .env("NGINX", "0;1;");
        let process = Process::start(&mut command, folder, [one, two]);
        Some(Self {
            process,
            http1,
            http2,
        })
    }

    /// Puts a file where it serves from.
    pub(super) fn file(&self, name: &str, contents: impl AsRef<[u8]>) {
        self.process.folder.write(&format!("html/{name}"), contents);
    }

    pub(super) fn address(&self, version: Version) -> SocketAddr {
        match version {
            Version::HTTP_2 => self.http2,
            _ => self.http1,
        }
    }

    pub(super) fn forward(&self, version: Version) -> Forward {
        forward(self.address(version), version)
    }
}

impl Hypercorn {
    /// With these arguments more.
    pub(super) fn start(arguments: &[&str]) -> Option<Self> {
        let program = peers::find_in_python("hypercorn")?;
        let (socket, address) = peers::listener();
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/app.py");
        let mut command = Command::new(program);
        command
            .args(["--bind", "fd://0", "--workers", "0"])
            .args(arguments)
            .arg(format!("{}:app", app.display()))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Some(Self {
            _process: Process::start(&mut command, Folder::new(), [socket]),
            address,
        })
    }

    pub(super) fn forward(&self, version: Version) -> Forward {
        forward(self.address, version)
    }
}

/// So many bytes without a pattern, the same each time.
pub(super) fn noise(length: usize) -> Vec<u8> {
    // Marsaglia's xorshift.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut word)
        .take(length.div_ceil(8))
        .flatten()
        .collect();
    bytes.truncate(length);
    bytes
}

/// A proxy to this address that speaks this version with it.
fn forward(address: SocketAddr, version: Version) -> Forward {
    let upstream = in_version(Upstream::builder(), version);
    upstream.forward_to(format!("http://{address}").parse().unwrap())
}

fn config(http1: SocketAddr, http2: SocketAddr, server: &str) -> String {
    format!(
        "daemon off;
        # As who it was started, since the folder is theirs: without meaning but for root.
        user root root;
        worker_processes 1;
        pid nginx.pid;
        error_log stderr notice;
        events {{ worker_connections 512; }}
        http {{
            access_log off;
            default_type text/plain;
            client_max_body_size 0;
            client_body_temp_path body_temp;
            proxy_temp_path proxy_temp;
            fastcgi_temp_path fastcgi_temp;
            uwsgi_temp_path uwsgi_temp;
            scgi_temp_path scgi_temp;
            server {{
                listen {http1};
                listen {http2} http2;
                root html;
                {server}
            }}
        }}"
    )
}
