//! How a connection ends that is used no more: in good order, if the other side is quick about it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tower_upstream::{CloseCause, Limits};

use crate::support::{
    dials::{Dials, Stream, text},
    http2, ms, sized,
};

/// A connection whose end takes a time to be said.
struct SlowFarewell {
    stream: Box<dyn Stream>,
    takes: Duration,
    saying: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for SlowFarewell {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for SlowFarewell {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let takes = self.takes;
        let saying = self.saying.get_or_insert_with(|| Box::pin(sleep(takes)));
        ready!(saying.as_mut().poll(cx));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An upstream that says its ends no faster.
fn dials(speaks_http2: bool, takes: Duration) -> Dials {
    let dials = Dials::to(move |mut peer| async move {
        if speaks_http2 {
            let mut peer = http2::accept(peer).await?;
            while let Some(call) = peer.call().await {
                call.answer();
            }
        } else {
            while peer.request().await?.is_some() {
                peer.write(sized("")).await?;
            }
        }
        Ok(())
    });
    dials.through(move |stream| SlowFarewell {
        stream,
        takes,
        saying: None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_farewell_has_half_a_second_and_no_more() {
    for speaks_http2 in [false, true] {
        // How long it would take, and how long the connection is there for it.
        for (takes, lasts) in [(400, 400), (60_000, 500)] {
            let dials = dials(speaks_http2, ms(takes));
            let limits = Limits::new().idle_timeout(ms(1000));
            let builder = dials.builder().limits(limits);
            let builder = if speaks_http2 {
                builder.http2_prior_knowledge()
            } else {
                builder
            };
            let upstream = builder.build().unwrap();
            text(&upstream).await;
            let protocol = if speaks_http2 { "HTTP/2" } else { "HTTP/1.1" };
            sleep(ms(990 + lasts)).await;
            assert_eq!(dials.open(), 1, "{protocol}: {takes} ms are not over");
            assert_eq!(upstream.stats().total.idle, 0, "{protocol}: it has begun");
            sleep(ms(20)).await;
            assert_eq!(dials.open(), 0, "{protocol}: {lasts} ms are over");
            assert_eq!(upstream.stats().closed(CloseCause::Expired), 1);
        }
    }
}
