//! Each phase times out by its own name, at its own time, and only its own.

use std::{convert::Infallible, error::Error as _, io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use tower_upstream::{Error, ErrorKind, Limits, Phase, Timeouts, Upstream};

use crate::support::{
    dials::{Dials, URI},
    ms, sized,
};

/// A handle whose four phases have four different times.
fn upstream(dials: &Dials) -> Upstream {
    let timeouts = Timeouts::default()
        .pool(ms(1000))
        .connect(ms(2000))
        .write(ms(3000))
        .read(ms(4000));
    let limits = Limits::new().max_connections(1);
    let builder = dials.builder().limits(limits).timeouts(timeouts);
    builder.build().unwrap()
}

/// The error is this phase's, and has come when its time was over.
#[track_caller]
fn assert_timed_out(error: &Error, start: Instant, kind: ErrorKind, phase: Phase, limit: Duration) {
    let took = start.elapsed();
    assert_eq!((error.kind(), error.phase()), (kind, Some(phase)));
    assert!(error.is_timeout());
    assert!(
        (limit..limit + ms(3)).contains(&took),
        "{phase} is over after {limit:?}, not after {took:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains(&format!("after {limit:?}")) && text.contains("http://in.process"),
        "it says how long, and where: {text}"
    );
}

/// Pieces, each after a pause.
fn slowly(
    pieces: usize,
    size: usize,
    pause: Duration,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let pieces = stream::unfold(pieces, move |left| async move {
        sleep(pause).await;
        let piece = Frame::data(Bytes::from(vec![b'x'; size]));
        (left > 0).then(|| (Ok::<_, Infallible>(piece), left - 1))
    });
    StreamBody::new(Box::pin(pieces))
}

#[tokio::test(start_paused = true)]
async fn connect() {
    let dials = Dials::new(|_| std::future::pending::<io::Result<TcpStream>>());
    let upstream = upstream(&dials);
    let start = Instant::now();
    let error = upstream.get(URI).await.unwrap_err();
    assert_timed_out(
        &error,
        start,
        ErrorKind::ConnectTimeout,
        Phase::Connect,
        ms(2000),
    );
    assert!(!error.was_sent());
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0, "the dial is over, too");
    assert_eq!(
        upstream.stats().timed_out(Phase::Connect),
        1,
        "counted once"
    );
}

#[tokio::test(start_paused = true)]
async fn read_while_no_head_comes() {
    let dials = Dials::to(|mut peer| async move {
        peer.request().await?;
        peer.closed().await;
        Ok(())
    });
    let upstream = upstream(&dials);
    for (request, body) in [(Request::get(URI), ""), (Request::post(URI), "whole")] {
        let request = request.body(body.to_owned()).unwrap();
        let start = Instant::now();
        let error = upstream.send(request).await.unwrap_err();
        assert_timed_out(&error, start, ErrorKind::ReadTimeout, Phase::Read, ms(4000));
        assert!(error.was_sent());
        sleep(ms(1)).await;
        assert_eq!(dials.open(), 0, "the connection is closed");
    }
}

#[tokio::test(start_paused = true)]
async fn read_between_two_pieces_of_the_body() {
    let dials = Dials::to(|mut peer| async move {
        peer.request().await?;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na")
            .await?;
        sleep(ms(3900)).await;
        peer.write("b").await?;
        peer.closed().await;
        Ok(())
    });
    let upstream = upstream(&dials);
    let mut body = upstream.get(URI).await.unwrap().into_body();
    for piece in ["a", "b"] {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece, "each is in time");
    }
    let start = Instant::now();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_timed_out(&error, start, ErrorKind::ReadTimeout, Phase::Read, ms(4000));
    assert!(body.frame().await.is_none(), "after its error it is over");
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0, "the connection is closed");
    assert_eq!(upstream.stats().timed_out(Phase::Read), 1);
}

#[tokio::test(start_paused = true)]
async fn write_when_the_upstream_takes_nothing() {
    let dials = Dials::to(|mut peer| async move {
        peer.head().await?;
        sleep(ms(60_000)).await;
        drop(peer);
        Ok(())
    });
    let upstream = upstream(&dials);
    let request = Request::post(URI).body("x".repeat(1 << 20)).unwrap();
    let start = Instant::now();
    let error = upstream.send(request).await.unwrap_err();
    assert_timed_out(
        &error,
        start,
        ErrorKind::WriteTimeout,
        Phase::Write,
        ms(3000),
    );
    assert!(error.was_sent(), "a part of it was");
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    assert!(
        causes
            .iter()
            .any(|cause| cause == "no byte was taken for 3s"),
        "its causes say so: {causes:?}"
    );
    sleep(ms(1)).await;
    assert_eq!(dials.open(), 0, "the connection is closed");
    assert_eq!(upstream.stats().timed_out(Phase::Write), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_neither_a_write_nor_a_read_timeout() {
    let dials = Dials::to(|mut peer| async move {
        let request = peer.request().await?.unwrap();
        sleep(ms(3900)).await;
        peer.write(sized(request.body.len().to_string())).await
    });
    let upstream = upstream(&dials);
    let request = Request::post(URI).body(slowly(10, 10, ms(3900))).unwrap();
    let response = upstream.send(request).await.unwrap();
    assert_eq!(response.into_body().text(10).await.unwrap(), "100");
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_request_was_held_up_does_not_count_as_reading() {
    // The smaller has long been taken from the body, though not yet by the upstream.
    for size in [1 << 20, 100_000] {
        let dials = Dials::to(move |mut peer| async move {
            peer.head().await?;
            sleep(ms(2900)).await;
            // The last of the body is in the pipe only from now on.
            peer.drain(size).await?;
            sleep(ms(3900)).await;
            peer.write(sized("late")).await
        });
        let upstream = upstream(&dials);
        let request = Request::post(URI).body("x".repeat(size)).unwrap();
        let response = upstream.send(request).await.unwrap();
        assert_eq!(response.into_body().text(10).await.unwrap(), "late");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_a_read_timeout() {
    let dials = Dials::answering(sized(vec![b'x'; 1 << 18]));
    let upstream = upstream(&dials);
    let mut body = upstream.get(URI).await.unwrap().into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.unwrap().into_data().unwrap().len();
        sleep(ms(60_000)).await;
    }
    assert_eq!(read, 1 << 18);
}

#[tokio::test(start_paused = true)]
async fn a_requests_own_timeouts_take_the_place_of_the_handles() {
    let dials = Dials::to(|mut peer| async move {
        peer.request().await?;
        sleep(ms(30_000)).await;
        peer.write(sized("x")).await
    });
    let upstream = upstream(&dials);
    let mut request = Request::get(URI).body(String::new()).unwrap();
    request
        .extensions_mut()
        .insert(Timeouts::default().read(ms(500)));
    let start = Instant::now();
    let error = upstream.send(request.clone()).await.unwrap_err();
    assert_timed_out(&error, start, ErrorKind::ReadTimeout, Phase::Read, ms(500));
    request
        .extensions_mut()
        .insert(Timeouts::default().read(None));
    let response = upstream.send(request).await.unwrap();
    assert_eq!(response.status(), 200, "none waits for ever");
}

#[tokio::test(start_paused = true)]
async fn a_shorter_connect_timeout_than_the_dials_is_kept() {
    let dials = Dials::new(|_| std::future::pending::<io::Result<TcpStream>>());
    let upstream = upstream(&dials);
    let patient = tokio::spawn(upstream.get(URI));
    tokio::task::yield_now().await;
    let mut request = Request::get(URI).body(String::new()).unwrap();
    let timeouts = Timeouts::default().connect(ms(100)).pool(ms(50));
    request.extensions_mut().insert(timeouts);
    let error = upstream.send(request).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::PoolTimeout,
        "the dial is the other's, and there is no room for one more"
    );
    let error = patient.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_anothers_dial_is_told_what_its_time_was() {
    let dials = Dials::new(|_| std::future::pending::<io::Result<TcpStream>>());
    let builder = dials.builder().http2_prior_knowledge();
    let upstream = builder.build().unwrap();
    let with = |timeouts: Timeouts| {
        let mut request = Request::get(URI).body(String::new()).unwrap();
        request.extensions_mut().insert(timeouts.pool(None));
        upstream.send(request)
    };
    let start = Instant::now();
    let dialing = tokio::spawn(with(Timeouts::default().connect(ms(500))));
    tokio::task::yield_now().await;
    let error = with(Timeouts::default().connect(None)).await.unwrap_err();
    assert_timed_out(
        &error,
        start,
        ErrorKind::ConnectTimeout,
        Phase::Connect,
        ms(500),
    );
    dialing.await.unwrap().unwrap_err();
    assert_eq!(dials.dialed(), 1);
}
