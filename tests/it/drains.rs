//! A thousand drains, each at a random instant of a random load.
//!
//! ```text
//! cargo test --release --all-features --test it -- --ignored --nocapture drains
//! ```
//!
//! `DRAINS_SEED=n` repeats the run that printed `n`.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{Instant, sleep},
};
use tower_upstream::{Drained, Error, ErrorKind, Limits, Timeouts, Upstream};

use crate::support::{Peer, Server, chunked, dials::Dials, random::Random, sized, sockets};

/// Within which a drain must return once its deadline is over.
const GRACE: Duration = Duration::from_millis(100);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Answers as the path says, or never.
async fn behave<S: AsyncRead + AsyncWrite + Unpin>(mut peer: Peer<S>) -> io::Result<()> {
    while let Some(request) = peer.request().await? {
        match request.path() {
            "/quick" => peer.write(sized("x")).await?,
            "/slow" => {
                sleep(ms(40)).await;
                peer.write(chunked(["some ", "text"])).await?;
            }
            "/halting" => {
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
                    .await?;
                sleep(ms(60)).await;
                peer.write("b").await?;
            }
            "/half" => {
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
                    .await?;
                peer.closed().await;
                return Ok(());
            }
            _ => {
                peer.closed().await;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The first three come to an end.
const PATHS: [&str; 5] = ["/quick", "/slow", "/halting", "/half", "/silent"];

/// How one drain went.
struct Trial {
    deadline: Duration,
    took: Duration,
    drained: Drained,
    /// What became of each request that was there before the drain.
    ends: Vec<Result<(), Error>>,
}

/// Requests at random times, and a drain at another; `closed` is asked as soon as it has returned.
async fn trial(
    upstream: Upstream,
    base: &str,
    random: &mut Random,
    closed: impl FnOnce() -> bool,
) -> Trial {
    let mut requests = JoinSet::new();
    // Else nearly every drain has one to cut short.
    let paths = if random.percent(50) {
        &PATHS[..3]
    } else {
        &PATHS
    };
    for _ in 0..random.index(20) {
        let request = upstream.get(format!("{base}{}", random.pick(paths)));
        requests.spawn(async move {
            let response = request.await?;
            response.into_body().bytes(100).await.map(drop)
        });
        if random.percent(30) {
            sleep(ms(random.below(30))).await;
        }
    }
    // They are all there before the drain, if only just.
    tokio::task::yield_now().await;
    sleep(ms(random.below(60))).await;
    let deadline = ms(random.below(120));
    let start = Instant::now();
    let drained = upstream.drain(deadline).await;
    let took = start.elapsed();
    assert!(closed(), "no socket is open when it returns");
    let total = upstream.stats().total;
    assert_eq!((total.open, total.waiting), (0, 0));
    let late = upstream.get(format!("{base}/quick")).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Draining);
    let ends = requests.join_all().await;
    for error in ends.iter().filter_map(|end| end.as_ref().err()) {
        assert_eq!(error.kind(), ErrorKind::Draining, "{error:?}");
    }
    Trial {
        deadline,
        took,
        drained,
        ends,
    }
}

fn limits() -> Limits {
    Limits::new().max_connections(5)
}

fn timeouts() -> Timeouts {
    Timeouts::new(Duration::from_secs(60))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_drains_at_random_instants_end_by_their_deadlines() {
    let mut random = Random::from_env("DRAINS_SEED");
    let mut cut_short = 0;
    for _ in 0..1000 {
        let dials = Dials::to(behave);
        let builder = dials.builder().limits(limits()).timeouts(timeouts());
        let upstream = builder.build().unwrap();
        let base = "http://in.process";
        let trial = trial(upstream, base, &mut random, || dials.open() == 0).await;
        let Trial { deadline, took, .. } = trial;
        assert!(took <= deadline + ms(1), "{took:?} of {deadline:?}");
        let aborted = trial.ends.iter().filter(|end| end.is_err()).count();
        assert_eq!(trial.drained.aborted, aborted, "each is counted");
        assert!(aborted == 0 || took >= deadline, "and had all the time");
        cut_short += usize::from(aborted > 0);
    }
    eprintln!("{cut_short} of a thousand were cut short");
    assert!(
        (300..=900).contains(&cut_short),
        "both kinds were tried: {cut_short} of a thousand were cut short"
    );
}

async fn on_sockets(drains: usize) -> Vec<Duration> {
    let mut random = Random::from_env("DRAINS_SEED");
    let server = Server::start(behave).await;
    let mut late = Vec::new();
    for _ in 0..drains {
        let builder = Upstream::builder().limits(limits()).timeouts(timeouts());
        let upstream = builder.build().unwrap();
        let none_left = || sockets::connected_to(server.address) == 0;
        let trial = trial(upstream, &server.uri(""), &mut random, none_left).await;
        late.push(trial.took.saturating_sub(trial.deadline));
    }
    late.sort();
    late
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_at_a_random_instant_leaves_no_socket() {
    let late = on_sockets(20).await;
    assert!(late[19] < Duration::from_secs(5), "none hangs: {late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures time"]
async fn of_a_thousand_drains_on_sockets_99_in_100_return_within_the_grace() {
    let late = on_sockets(1000).await;
    eprintln!(
        "median {:?}, 99 % {:?}, last {:?}",
        late[500], late[989], late[999]
    );
    assert!(late[989] <= GRACE, "{:?}", late[989]);
    assert!(late[999] <= 5 * GRACE, "{:?}", late[999]);
}
