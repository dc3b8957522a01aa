//! A connector of one's own: upstreams on Unix sockets, each host name a socket in one folder.
//!
//!     cargo run --example unix_socket
//!
//! Everything else, the limits and the pool among it, is as over TCP. The example serves two such
//! upstreams itself, calls both and ends.

use std::{
    error::Error,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, routing::get};
use futures_util::future::BoxFuture;
use http::Uri;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tower::Service;
use tower_upstream::{Gather, Limits, Upstream};

/// Connects `http://NAME/` to the socket `NAME.sock` in a folder.
#[derive(Clone)]
struct Sockets {
    folder: Arc<Path>,
}

impl Service<Uri> for Sockets {
    // hyper's own wrapper of tokio's stream has the traits that are asked for.
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<UnixStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        // A URI's host holds no slash, so no name leads out of the folder.
        let name = origin.host().unwrap_or_default();
        let path = self.folder.join(format!("{name}.sock"));
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new()?;
    for name in ["users", "orders"] {
        let app = Router::new().route("/", get(move || async move { format!("I am {name}") }));
        let listener = UnixListener::bind(folder.0.join(format!("{name}.sock")))?;
        tokio::spawn(async move { axum::serve(listener, app).await });
    }

    let upstream = Upstream::builder()
        .limits(Limits::new().max_connections(10))
        .connector(Sockets {
            folder: folder.0.as_path().into(),
        })
        .build()?;

    let urls = ["http://users/", "http://orders/", "http://nobody/"];
    let response = Gather::get(urls).send(&upstream).await;
    let text = response.into_body().collect().await?;
    println!("{}", String::from_utf8_lossy(&text.to_bytes()));
    println!("\n[pool] {}", upstream.stats());
    Ok(())
}

/// A folder for the sockets, which nobody else may enter; it goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("unix-socket-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
