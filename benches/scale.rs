//! How the time and the memory of one request grow with the number of idle connections, origins,
//! waiting requests, gathers at once and worker threads: they should not.
//!
//!     cargo bench --bench scale                     # a table
//!     cargo bench --bench scale -- docs/scale.csv   # and the figures, for docs/scale.py to plot
//!
//! All is in memory. Each figure is the median of five processes, so that none finds what another
//! has left behind. Memory is resident, by Linux's `/proc`.

#![allow(missing_docs, reason = "a bench is no API")]
#![expect(clippy::expect_used, reason = "a bench fails by a panic")]

mod support;

use std::{
    env, fmt::Debug, fs, future::Future, io, process::Command, thread::available_parallelism,
    time::Duration,
};

use bytes::Bytes;
use http::Uri;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{runtime::Builder, task::JoinSet, time::Instant};
use tower_upstream::{Gather, Limits, Timeouts, Truncate, Upstream};

use support::{InMemory, runtime};

const PROCESSES: usize = 5;
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// What grows, and what is measured of it.
const SCENARIOS: [(&str, &str); 5] = [
    ("idle", "idle connections, each of its own origin"),
    ("origins", "origins in turn over 10 connections"),
    ("waiting", "requests waiting for 10 connections"),
    ("gathers", "gathers of five at once over 10 connections"),
    ("threads", "worker threads"),
];

/// The cost of one.
#[derive(Clone, Copy, Debug)]
struct Cost {
    nanoseconds: f64,
    /// Of one connection, request or gather; nothing for what is not held.
    bytes: f64,
}

fn main() {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<_> = env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["measure", scenario, size] => {
            let cost = measure(scenario, size.parse().expect("a size is a number"));
            println!("{} {}", cost.nanoseconds, cost.bytes);
        }
        [] => drop(table()),
        [path] => fs::write(path, table()).expect("the file can be written"),
        _ => panic!("one argument at most: where the figures go"),
    }
}

/// Prints the table; returns the same for programs.
fn table() -> String {
    let mut csv = String::from("scenario,size,nanoseconds,bytes\n");
    println!("| what grows | how many | ns each | bytes each |\n|---|---|---|---|");
    for (scenario, name) in SCENARIOS {
        let threads = available_parallelism().map_or(1, |n| n.get());
        let sizes = match scenario {
            "threads" => (0..)
                .map(|n| 1 << n)
                .take_while(|n| *n <= threads)
                .collect(),
            _ => SIZES.to_vec(),
        };
        for size in sizes {
            let Cost { nanoseconds, bytes } = median(scenario, size);
            println!("| {name} | {size} | {nanoseconds:.0} | {bytes:.0} |");
            csv += &format!("{scenario},{size},{nanoseconds:.0},{bytes:.0}\n");
        }
    }
    csv
}

fn median(scenario: &str, size: usize) -> Cost {
    let this = env::current_exe().expect("a program knows where it is");
    let costs = (0..PROCESSES).map(|_| {
        let mut child = Command::new(&this);
        child.args(["measure", scenario, &size.to_string()]);
        let output = child.output().expect("it can be run again");
        assert!(output.status.success(), "{scenario} of {size} has failed");
        let text = String::from_utf8(output.stdout).expect("it prints text");
        let mut numbers = text
            .split_whitespace()
            .map(|n| n.parse().expect("and numbers"));
        [(); 2].map(|()| numbers.next().expect("two of them"))
    });
    let costs: Vec<[f64; 2]> = costs.collect();
    let middle = |which: usize| {
        let mut values: Vec<_> = costs.iter().map(|cost| cost[which]).collect();
        values.sort_by(f64::total_cmp);
        values[PROCESSES / 2]
    };
    Cost {
        nanoseconds: middle(0),
        bytes: middle(1),
    }
}

fn measure(scenario: &str, size: usize) -> Cost {
    match scenario {
        "idle" => idle(size),
        "origins" => origins(size),
        "waiting" => crowd(size, |upstream| {
            let request = upstream.get("http://page/");
            async move { read(request.await.expect("it is answered").into_body()).await }
        }),
        "gathers" => crowd(size, |upstream| {
            let page = Uri::from_static("http://page/");
            let gather = Gather::get([(); 5].map(|()| page.clone())).truncate(Truncate::chars(50));
            let response = gather.send(&upstream);
            async move { read(response.await.into_body()).await }
        }),
        "threads" => threads(size),
        _ => panic!("there is no scenario {scenario}"),
    }
}

/// An exchange beside so many idle connections; a connection's memory.
fn idle(size: usize) -> Cost {
    let runtime = runtime();
    let upstream = handle(size);
    let uris: Vec<_> = (0..size).map(origin).collect();
    runtime.block_on(async {
        // What the first one needs for good is not a connection's.
        get(&upstream, &uris[0]).await;
        let before = resident("VmRSS");
        for uri in &uris {
            get(&upstream, uri).await;
        }
        assert_eq!(upstream.stats().total.idle, size, "all are kept");
        let bytes = per(resident("VmRSS").saturating_sub(before), size);
        let nanoseconds = in_turn(&upstream, &uris[size / 2..=size / 2], 20_000).await;
        Cost { nanoseconds, bytes }
    })
}

/// An exchange for which a connection of another origin must close and a new one be opened.
fn origins(size: usize) -> Cost {
    let runtime = runtime();
    let upstream = handle(10);
    // With ten origins each would keep its own.
    let uris: Vec<_> = (0..size.max(11)).map(origin).collect();
    runtime.block_on(async {
        in_turn(&upstream, &uris, uris.len()).await;
        let nanoseconds = in_turn(&upstream, &uris, 20_000).await;
        Cost {
            nanoseconds,
            bytes: 0.0,
        }
    })
}

/// All at once on ten connections; the memory of one that is waiting, its task included.
fn crowd<F>(size: usize, one: impl Fn(Upstream) -> F) -> Cost
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime();
    let upstream = handle(10);
    runtime.block_on(async {
        let all = async || {
            let start = Instant::now();
            let tasks: JoinSet<_> = (0..size).map(|_| one(upstream.clone())).collect();
            finish(tasks).await;
            start.elapsed()
        };
        let before = resident("VmHWM");
        let first = all().await;
        let bytes = per(resident("VmHWM").saturating_sub(before), size);
        // Small crowds are timed many times over.
        let mut times = vec![first];
        for _ in 0..10_000_usize.div_ceil(size).min(500) {
            times.push(all().await);
        }
        times.sort();
        let nanoseconds = times[times.len() / 2].as_nanos() as f64 / size as f64;
        Cost { nanoseconds, bytes }
    })
}

/// What an exchange takes of the time of so many threads that all use one handle.
fn threads(size: usize) -> Cost {
    const TASKS: usize = 64;
    const EACH: usize = 2_000;
    let runtime = Builder::new_multi_thread()
        .worker_threads(size)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be had");
    let upstream = handle(TASKS);
    let uri = Uri::from_static("http://page/");
    let start = Instant::now();
    runtime.block_on(async {
        let tasks: JoinSet<_> = (0..TASKS)
            .map(|_| {
                let (upstream, uri) = (upstream.clone(), uri.clone());
                async move {
                    for _ in 0..EACH {
                        get(&upstream, &uri).await;
                    }
                }
            })
            .collect();
        finish(tasks).await;
    });
    Cost {
        nanoseconds: start.elapsed().as_nanos() as f64 / (TASKS * EACH) as f64,
        bytes: 0.0,
    }
}

async fn finish(mut tasks: JoinSet<()>) {
    while let Some(end) = tasks.join_next().await {
        end.expect("nothing in it fails");
    }
}

fn handle(connections: usize) -> Upstream {
    let limits = Limits::new()
        .max_connections(connections)
        .max_idle_connections(connections)
        .idle_timeout(Duration::from_secs(3600))
        .max_pending(1_000_000);
    let upstream = Upstream::builder()
        .limits(limits)
        .timeouts(Timeouts::default().pool(None))
        .connector(InMemory)
        .build();
    upstream.expect("the limits are sound")
}

fn origin(number: usize) -> Uri {
    let uri = format!("http://page{number}/").parse();
    uri.expect("it is a URI")
}

async fn get(upstream: &Upstream, uri: &Uri) {
    let response = upstream.get(uri).await.expect("it is answered");
    read(response.into_body()).await;
}

async fn read<B: Body<Data = Bytes, Error: Debug>>(body: B) {
    let body = body.collect().await.expect("it comes whole");
    assert!(!body.to_bytes().is_empty(), "a page is no empty one");
}

/// The median time of one request of `count`, in batches, to these in turn.
async fn in_turn(upstream: &Upstream, uris: &[Uri], count: usize) -> f64 {
    const BATCH: usize = 50;
    let mut next = uris.iter().cycle();
    let mut times = Vec::new();
    for _ in 0..count.div_ceil(BATCH) {
        let start = Instant::now();
        for uri in next.by_ref().take(BATCH) {
            get(upstream, uri).await;
        }
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() / 2].as_nanos() as f64 / BATCH as f64
}

/// What `/proc/self/status` says, in bytes.
fn resident(field: &str) -> usize {
    let read = || -> io::Result<Option<usize>> {
        let status = fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        Ok(line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()))
    };
    let kibibytes = read().ok().flatten();
    kibibytes.expect("it takes Linux to tell") * 1024
}

fn per(bytes: usize, size: usize) -> f64 {
    bytes as f64 / size as f64
}
