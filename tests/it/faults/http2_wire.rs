//! Group E: HTTP/2, where the upstream breaks its rules, frame by frame.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use h2::Reason;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Barrier, watch},
    time::{Instant, sleep, timeout},
};
use tower_upstream::{ErrorKind, Phase};

use super::{
    SHORT, assert_failed, assert_unsent,
    http2::{close_idle, http2},
    patient,
};
use crate::support::{
    Peer, Server, echo, eventually,
    frames::{
        ACK, CONTINUATION, DATA, HEADERS, PING, PREFACE, SETTINGS, WINDOW_UPDATE, accept, data,
        frame, ok, read, request, reset, setting,
    },
    trial::{Trial, Watch},
};

/// How many streams there may be at once (RFC 9113 §6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;
const MAX_FRAME_SIZE: u16 = 5;

/// A server whose first connection is begun, and then the script's; every other is as it should be.
async fn first<F, Fut>(trial: &Trial, script: F) -> Server
where
    F: Fn(Peer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    trial
        .server(move |mut peer| {
            let script = script.clone();
            async move {
                if peer.number > 0 {
                    return echo::serve_http2(peer).await;
                }
                accept(&mut peer.stream).await?;
                peer.fault();
                script(peer).await
            }
        })
        .await
}

/// The error of a GET that is answered by these frames, made for its stream.
async fn assert_breaks(answer: fn(u32) -> Vec<u8>) {
    let trial = Trial::start(http2()).await;
    let server = first(&trial, move |mut peer| async move {
        let stream = request(&mut peer.stream).await?.unwrap();
        peer.write(answer(stream)).await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::Protocol, Phase::Read, 502, 13);
    trial.over([server]).await;
}

#[tokio::test]
async fn e5_an_answer_before_the_end_of_the_request_is_kept_and_the_upload_stops() {
    let trial = Trial::start(http2()).await;
    let server = first(&trial, |mut peer| async move {
        let asked = read_headers(&mut peer).await?;
        let whole = [ok(asked, &[]), data(asked, "enough", true)];
        peer.write(whole.concat()).await?;
        peer.write(reset(asked, Reason::NO_ERROR)).await?;
        peer.closed().await;
        Ok(())
    })
    .await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let endless = stream::repeat_with(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"more")))
    });
    let endless = StreamBody::new(endless.then(|piece| async {
        sleep(Duration::from_millis(1)).await;
        piece
    }));
    let request = trial.request("POST", &server.uri("/"));
    let response = trial
        .upstream
        .send(request.body(Box::pin(endless)).unwrap());
    let body = response.await.unwrap().into_body();
    assert_eq!(body.text(100).await.unwrap(), "enough");
    sleep(Duration::from_millis(50)).await;
    let so_far = sent.load(Ordering::SeqCst);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(sent.load(Ordering::SeqCst), so_far, "nobody asks for more");
    close_idle(&trial, &server).await;
    trial.over([server]).await;
}

async fn read_headers(peer: &mut Peer) -> io::Result<u32> {
    while let Some(frame) = read(&mut peer.stream).await? {
        if frame.kind == HEADERS {
            return Ok(frame.stream);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[tokio::test]
async fn e6_an_upstream_that_allows_no_stream_is_a_pool_timeout() {
    let trial = Trial::start(http2().timeouts(patient().pool(SHORT))).await;
    let (well, is_well) = watch::channel(false);
    let server = trial
        .server(move |mut peer| {
            let mut is_well = is_well.clone();
            async move {
                if *is_well.borrow() {
                    return echo::serve_http2(peer).await;
                }
                let preface = PREFACE.len();
                peer.drain(preface).await?;
                peer.write(setting(MAX_CONCURRENT_STREAMS, 0)).await?;
                peer.fault();
                // Until then it is there, and no more than that.
                is_well.wait_for(|well| *well).await.unwrap();
                Ok(())
            }
        })
        .await;
    let start = Instant::now();
    let errors = join_all((0..5).map(|_| trial.fails(server.uri("/")))).await;
    for error in &errors {
        assert_failed(error, ErrorKind::PoolTimeout, Phase::Pool, 503, 14);
        assert_unsent(error);
    }
    assert!(start.elapsed() >= SHORT, "and not before");
    assert_eq!(server.accepted(), 1, "another dial would be no better");
    well.send_replace(true);
    eventually("the connections are gone", || server.open() == 0).await;
    trial.over([server]).await;
}

#[tokio::test]
async fn e6_an_upstream_that_allows_no_stream_and_leaves_is_dialled_once() {
    let trial = Trial::start(http2()).await;
    let server = trial
        .server(|mut peer| async move {
            if peer.number > 0 {
                return echo::serve_http2(peer).await;
            }
            peer.stream.read_exact(&mut [0; PREFACE.len()]).await?;
            peer.write(setting(MAX_CONCURRENT_STREAMS, 0)).await?;
            peer.fault();
            while let Some(frame) = read(&mut peer.stream).await? {
                if frame.kind == SETTINGS && frame.flags & ACK != 0 {
                    break;
                }
            }
            Ok(())
        })
        .await;
    let error = trial.fails(server.uri("/")).await;
    assert_failed(&error, ErrorKind::Closed, Phase::Connect, 502, 14);
    assert_unsent(&error);
    assert_eq!(server.accepted(), 1, "it is a dial that has failed");
    trial.over([server]).await;
}

#[tokio::test]
async fn e6_a_limit_that_is_lowered_cuts_no_stream_and_is_kept() {
    const MANY: usize = 10;
    let trial = Trial::start(http2()).await;
    let server = trial
        .server(|mut peer| async move {
            let socket = &mut peer.stream;
            accept(socket).await?;
            let first = if peer.number == 0 { MANY } else { 0 };
            let mut open = Vec::new();
            let mut acks = 0;
            while open.len() < first {
                let frame = read(socket).await?.unwrap();
                acks += usize::from(frame.kind == SETTINGS && frame.flags & ACK != 0);
                if frame.kind == HEADERS {
                    open.push(frame.stream);
                }
            }
            socket
                .write_all(&setting(MAX_CONCURRENT_STREAMS, 1))
                .await?;
            while acks < 2 {
                let frame = read(socket).await?.unwrap();
                acks += usize::from(frame.kind == SETTINGS && frame.flags & ACK != 0);
            }
            for stream in open {
                let answer = [ok(stream, &[]), data(stream, "one of ten", true)];
                socket.write_all(&answer.concat()).await?;
            }
            while let Some(stream) = request(socket).await? {
                let second = timeout(Duration::from_millis(20), request(socket)).await;
                assert!(second.is_err(), "one at a time");
                let answer = [ok(stream, &[]), data(stream, "one by one", true)];
                socket.write_all(&answer.concat()).await?;
            }
            Ok(())
        })
        .await;
    let first = join_all((0..MANY).map(|_| trial.get(server.uri("/")))).await;
    assert!(
        first
            .iter()
            .all(|text| text.as_ref().unwrap() == "one of ten")
    );
    let then = join_all((0..MANY).map(|_| trial.get(server.uri("/")))).await;
    assert!(
        then.iter()
            .all(|text| text.as_ref().unwrap() == "one by one")
    );
    drop(server);
    trial.over([]).await;
}

#[tokio::test]
async fn e6_requests_beyond_a_limit_that_has_changed_go_elsewhere_and_no_others() {
    // Streams on the first connection at first, and on each of so many then.
    for (first, then, connections) in [(2, 1, 2), (1, 2, 1)] {
        let trial = Trial::start(http2()).await;
        let meeting = Arc::new(Barrier::new(connections));
        let server = trial
            .server(move |mut peer| {
                let meeting = meeting.clone();
                async move {
                    let socket = &mut peer.stream;
                    socket.read_exact(&mut [0; PREFACE.len()]).await?;
                    if peer.number == 0 {
                        let limit = setting(MAX_CONCURRENT_STREAMS, first);
                        socket.write_all(&limit).await?;
                        let stream = request(socket).await?.unwrap();
                        let limit = setting(MAX_CONCURRENT_STREAMS, then);
                        let answer = [limit, ok(stream, &[]), data(stream, "", true)];
                        socket.write_all(&answer.concat()).await?;
                    } else {
                        let limit = setting(MAX_CONCURRENT_STREAMS, then);
                        socket.write_all(&limit).await?;
                    }
                    let mut answers = Vec::new();
                    for _ in 0..then {
                        let stream = request(socket).await?.unwrap();
                        answers.extend([ok(stream, &[]), data(stream, "met", true)]);
                    }
                    meeting.wait().await;
                    socket.write_all(&answers.concat()).await?;
                    while request(socket).await?.is_some() {}
                    Ok(())
                }
            })
            .await;
        trial.get(server.uri("/")).await.unwrap();
        let both = join_all((0..2).map(|_| trial.get(server.uri("/"))));
        let both = timeout(Duration::from_secs(2), both).await;
        let texts = both.expect("both are there at once");
        assert!(texts.iter().all(|text| text.as_ref().unwrap() == "met"));
        assert_eq!(server.accepted(), connections, "from {first} to {then}");
        drop(server);
        trial.over([]).await;
    }
}

/// Writes this again and again, and takes whatever comes.
async fn flood(peer: &mut Peer, bytes: &[u8], watch: &Watch) -> io::Result<()> {
    let (mut from, mut to) = peer.stream.split();
    let bytes = bytes.repeat(1000);
    let write = async {
        loop {
            to.write_all(&bytes).await?;
            watch.look();
            // A look takes its time, and there is one thread.
            tokio::task::yield_now().await;
        }
    };
    let mut nowhere = tokio::io::sink();
    tokio::select! {
        result = write => result,
        result = tokio::io::copy(&mut from, &mut nowhere) => result.map(drop),
    }
}

#[tokio::test]
async fn e7_a_flood_of_frames_ends_in_bounded_memory() {
    type Begin = fn(u32) -> Vec<u8>;
    let nothing: Begin = |_| Vec::new();
    let begun: Begin = |stream| ok(stream, &[]);
    // A head that is never whole.
    let half: Begin = |stream| frame(HEADERS, 0, stream, [0x88]);
    let floods: [(Begin, Begin, ErrorKind); 4] = [
        (
            nothing,
            |_| frame(SETTINGS, 0, 0, ""),
            ErrorKind::ReadTimeout,
        ),
        (
            nothing,
            |_| frame(PING, 0, 0, [0; 8]),
            ErrorKind::ReadTimeout,
        ),
        (
            begun,
            |stream| frame(DATA, 0, stream, ""),
            ErrorKind::BodyIncomplete,
        ),
        (
            half,
            |stream| frame(CONTINUATION, 0, stream, [0; 0]),
            ErrorKind::Protocol,
        ),
    ];
    for (begin, again, kind) in floods {
        let trial = Trial::start(http2().timeouts(patient().read(SHORT))).await;
        let watch = trial.watch();
        let server = first(&trial, move |mut peer| {
            let watch = watch.clone();
            async move {
                let stream = request(&mut peer.stream).await?.unwrap();
                peer.write(begin(stream)).await?;
                flood(&mut peer, &again(stream), &watch).await
            }
        })
        .await;
        let error = trial.fails(server.uri("/")).await;
        assert_eq!(
            (error.kind(), error.phase()),
            (kind, Some(Phase::Read)),
            "{error:?}"
        );
        close_idle(&trial, &server).await;
        trial.over([server]).await;
    }
}

#[tokio::test]
async fn e8_a_frame_size_of_nothing_and_a_window_past_its_bounds_end_the_connection() {
    assert_breaks(|_| setting(MAX_FRAME_SIZE, 0)).await;
    assert_breaks(|_| frame(WINDOW_UPDATE, 0, 0, 0x7fff_ffff_u32.to_be_bytes())).await;
    assert_breaks(|_| frame(SETTINGS, 0, 0, "odd")).await;
    assert_breaks(|_| frame(PING, 0, 0, "odd")).await;
}
