//! The gateway example as a process of its own: under load, and with all that may pass through it.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute, not the helpers they share"
)]

mod admin;
mod bodies;
mod calls;
mod memory;
mod python;
mod websocket;

use std::{
    fmt::Display,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::sleep,
};
use tower_upstream::{Limits, Timeouts, Upstream};

use crate::support::{Server, examples::example, sized, sockets};

/// A running gateway; it dies with this value.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) address: SocketAddr,
    /// Where its page is, with `--admin`.
    admin: Option<SocketAddr>,
}

impl Gateway {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let mut process = Self::command(flags)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = async |what| {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("the gateway serves"));
            line.strip_prefix(what).unwrap().parse().unwrap()
        };
        let listening = address("listening on http://").await;
        let admin = if flags.contains(&"--admin") {
            Some(address("admin on http://").await)
        } else {
            None
        };
        Self {
            process,
            address: listening,
            admin,
        }
    }

    /// In front of this origin.
    pub(crate) async fn before(origin: &impl Display, flags: &[&str]) -> Self {
        let origin = origin.to_string();
        Self::start(&[&["--forward-to", &origin], flags].concat()).await
    }

    fn command(flags: &[&str]) -> Command {
        let mut command = example("gateway");
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        command
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_of_five_slow_legs_share_ten_sockets_and_all_are_answered() {
    let slow = Server::answering(|_| async {
        sleep(Duration::from_millis(100)).await;
        sized("a slow page, which is a good deal longer than fifty characters in all")
    })
    .await;
    let url = slow.uri("/page");
    let mut flags = vec![
        "--max-connections",
        "10",
        "--truncate-chars",
        "50",
        "--pool-timeout",
        "2s",
        // Only the pool is short here, however busy the machine.
        "--connect-timeout",
        "60s",
        "--read-timeout",
        "60s",
        "--write-timeout",
        "60s",
    ];
    for _ in 0..5 {
        flags.extend(["--gather", &url]);
    }
    let gateway = Gateway::start(&flags).await;
    let client = Upstream::builder()
        .limits(Limits::new().max_connections(1000))
        .timeouts(Timeouts::new(Duration::from_secs(30)))
        .build()
        .unwrap();
    client
        .get(gateway.uri("/"))
        .await
        .unwrap()
        .into_body()
        .text(10_000)
        .await
        .unwrap();
    let (threads, memory) = (
        sockets::threads_of(gateway.pid()),
        sockets::memory_of(gateway.pid()),
    );

    let done = Arc::new(AtomicBool::new(false));
    let (peak, most_threads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watch = tokio::spawn({
        let (done, peak, most_threads) = (done.clone(), peak.clone(), most_threads.clone());
        let (pid, address) = (gateway.pid(), slow.address);
        async move {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(sockets::of_process_to(pid, address), Ordering::Relaxed);
                most_threads.fetch_max(sockets::threads_of(pid), Ordering::Relaxed);
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let answers = join_all((0..1000).map(|_| async {
        let response = client.get(gateway.uri("/")).await.unwrap();
        let status = response.status();
        (status, response.into_body().text(10_000).await.unwrap())
    }))
    .await;
    done.store(true, Ordering::Relaxed);
    watch.await.unwrap();

    let (mut served, mut refused) = (0, 0);
    for (status, text) in answers {
        let legs: Vec<_> = text.split("\n\n").collect();
        let pages = legs.iter().filter(|leg| leg.chars().count() == 50).count();
        let struck = |leg: &&&str| {
            leg.contains("came free in time") || leg.contains("too many requests are waiting")
        };
        let failures = legs.iter().filter(struck).count();
        assert_eq!(
            pages + failures,
            5,
            "each leg is a page or says why not: {text}"
        );
        match (status.as_u16(), pages) {
            (200, 1..) => served += 1,
            (503, 0) => refused += 1,
            other => panic!("200 with a page, or 503 with none, but not {other:?}"),
        }
    }
    assert!(
        served > 10,
        "what the ten connections can do is done: {served} served, {refused} refused"
    );
    assert_eq!(
        peak.load(Ordering::Relaxed),
        10,
        "the cap is used, and never exceeded"
    );
    assert_eq!(slow.peak(), 10);
    assert_eq!(
        most_threads.load(Ordering::Relaxed),
        threads,
        "no thread was added"
    );
    let growth = sockets::memory_of(gateway.pid()).saturating_sub(memory);
    assert!(
        growth < 64 << 20,
        "memory stays bounded: it grew by {growth} bytes"
    );
}

#[tokio::test]
async fn it_forwards_what_is_under_proxy_cut_if_asked_to_and_tells_of_it() {
    let server = Server::answering(|request| async move { sized(request.path()) }).await;
    let origin = server.uri("");
    let client = Upstream::builder().build().unwrap();
    let get = async |url: String| {
        let response = client.get(url).await.unwrap();
        response.into_body().text(100_000).await.unwrap()
    };

    let gateway = Gateway::start(&["--forward-to", &origin, "--truncate-bytes", "3"]).await;
    let path = get(gateway.uri("/proxy/a%2Fb//c?d=%00")).await;
    assert_eq!(path, "/a%2Fb//c?d=%00", "the rest of the path, to the byte");
    let metrics = get(gateway.uri("/metrics")).await;
    for line in [
        "# TYPE upstream_connections gauge".to_owned(),
        format!("upstream_connections{{origin=\"{origin}\",state=\"idle\"}} 1"),
        "upstream_opened_total 1".to_owned(),
        "upstream_closed_total{cause=\"expired\"} 0".to_owned(),
        "upstream_timed_out_total{phase=\"read\"} 0".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|l| l == line),
            "{line} is in:\n{metrics}"
        );
    }

    let flags = [
        "--forward-to",
        &origin,
        "--truncate-bytes",
        "3",
        "--truncate-forward",
    ];
    let gateway = Gateway::start(&flags).await;
    assert_eq!(get(gateway.uri("/proxy/abcdef")).await, "/ab");
}

#[tokio::test]
async fn what_cannot_work_is_refused_by_name() {
    let taken = Server::saying("x").await;
    let address = taken.address.to_string();
    for (flags, says) in [
        (vec!["--bogus"], "unknown flag --bogus"),
        (vec!["--max-connections", "0"], "max_connections is 0"),
        (
            vec!["--max-connections", "2", "--max-idle", "3"],
            "max_idle_connections is 3",
        ),
        (vec!["--listen", &address], address.as_str()),
        (
            vec!["--read-timeout", "5"],
            "--read-timeout 5: a duration looks like",
        ),
        (vec!["--wait"], "--wait needs a value"),
    ] {
        let output = Gateway::command(&flags).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(says),
            "{flags:?}: {error}"
        );
    }
}

#[tokio::test]
async fn sigterm_lets_what_is_under_way_finish() {
    let slow = Server::answering(|_| async {
        sleep(Duration::from_millis(300)).await;
        sized("done")
    })
    .await;
    let url = slow.uri("/");
    let mut gateway = Gateway::start(&["--gather", &url]).await;
    let client = Upstream::builder().build().unwrap();
    let request = tokio::spawn(client.get(gateway.uri("/")));
    while slow.requests() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let pid = gateway.pid().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    let response = request.await.unwrap().unwrap();
    assert_eq!(response.into_body().text(100).await.unwrap(), "done");
    assert!(
        gateway.process.wait().await.unwrap().success(),
        "it ends by itself, with success"
    );
}
