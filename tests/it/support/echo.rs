//! An upstream that is well: it answers each request with its id, over HTTP/1.1 and HTTP/2.

use std::{io, sync::Arc};

use h2::server::Builder;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Barrier,
};

use super::{
    Peer,
    http2::{self, speaks_http2},
    sized,
};

/// Answers whatever the connection speaks. Requests wait until as many are there as are to meet: over
/// HTTP/2 there is one stream on a connection, so that each needs a connection of its own.
pub(crate) async fn meeting(mut peer: Peer, meeting: Arc<Barrier>) -> io::Result<()> {
    if speaks_http2(&peer.stream).await? {
        let mut one_stream = Builder::new();
        one_stream.max_concurrent_streams(1);
        let mut peer = http2::accept_with(peer, &one_stream).await?;
        while let Some(call) = peer.call().await {
            meeting.wait().await;
            call.answer();
        }
        return Ok(());
    }
    while let Some(request) = peer.request().await? {
        meeting.wait().await;
        peer.write(sized(request.id())).await?;
    }
    Ok(())
}

/// Answers whatever the connection speaks, at once.
pub(crate) async fn serve_either(peer: Peer) -> io::Result<()> {
    if speaks_http2(&peer.stream).await? {
        return serve_http2(peer).await;
    }
    serve(peer).await
}

/// Answers every request at once.
pub(crate) async fn serve<S>(mut peer: Peer<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(request) = peer.request().await? {
        peer.write(sized(request.id())).await?;
    }
    Ok(())
}

/// Answers every stream at once.
pub(crate) async fn serve_http2<S>(peer: Peer<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut peer = http2::accept(peer).await?;
    while let Some(call) = peer.call().await {
        call.answer();
    }
    Ok(())
}
