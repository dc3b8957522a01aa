//! Who asks, and what must be true of what they are told.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower::service_fn;
use tower_upstream::{ErrorKind, Limits, Timeouts, Upstream};
use turmoil::net::TcpStream;

use super::{HOSTS, PORT, Protocol, STORM, TICK, random::Random, upstream::page};

const CAP: usize = 6;
const CAP_OF_ONE: usize = 3;
const IDLE: Duration = Duration::from_millis(150);

const POOL: Duration = Duration::from_millis(200);
const CONNECT: Duration = Duration::from_millis(100);
const WRITE: Duration = Duration::from_millis(150);
const READ: Duration = Duration::from_millis(150);
const TOTAL: Duration = Duration::from_millis(250);

/// In how many pieces a body comes at most, its end included.
const PIECES: u32 = 4;

/// The most that an exchange without a `total` timeout may take: two tries (RFC 9110 §9.2.2) that
/// each end in the last moment of every phase.
const LONGEST: Duration = POOL
    .saturating_add(CONNECT.saturating_mul(2))
    .saturating_add(WRITE.saturating_mul(2))
    .saturating_add(READ.saturating_mul(2 + PIECES));

/// What a timer may be late by: its own tick, and that of the wheel it is in.
const LATE: Duration = TICK.saturating_mul(3);

/// Between the simulation and the client in it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    healed: AtomicBool,
    requests: AtomicUsize,
    failed: AtomicUsize,
}

impl Report {
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::SeqCst)
    }

    pub(crate) fn count(&self) -> super::Count {
        super::Count {
            requests: self.requests.load(Ordering::SeqCst),
            failed: self.failed.load(Ordering::SeqCst),
        }
    }
}

/// Sockets, from before the dial until after the close.
#[derive(Clone, Debug, Default)]
struct Sockets(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// To each host.
    open: [usize; HOSTS.len()],
    peak: usize,
    peak_of_one: usize,
}

struct Socket {
    io: TokioIo<TcpStream>,
    _count: Count,
}

/// One socket.
struct Count {
    sockets: Sockets,
    host: usize,
}

impl Sockets {
    fn count(&self, host: &str) -> Count {
        let host = HOSTS.iter().position(|&known| known == host).unwrap();
        let mut counts = self.0.lock().unwrap();
        counts.open[host] += 1;
        counts.peak = counts.peak.max(counts.open.iter().sum());
        counts.peak_of_one = counts.peak_of_one.max(counts.open[host]);
        Count {
            sockets: self.clone(),
            host,
        }
    }

    fn open(&self) -> usize {
        self.0.lock().unwrap().open.iter().sum()
    }

    fn assert_caps(&self) {
        let counts = self.0.lock().unwrap();
        assert!(counts.peak <= CAP, "{counts:?}, {CAP} allowed");
        assert!(counts.peak_of_one <= CAP_OF_ONE, "{counts:?}, {CAP_OF_ONE}");
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.sockets.0.lock().unwrap().open[self.host] -= 1;
    }
}

fn handle(protocol: Protocol, sockets: &Sockets) -> Upstream {
    let sockets = sockets.clone();
    let connector = service_fn(move |uri: Uri| {
        let count = sockets.count(uri.host().unwrap());
        async move {
            let stream = TcpStream::connect((uri.host().unwrap(), PORT)).await?;
            io::Result::Ok(Socket {
                io: TokioIo::new(stream),
                _count: count,
            })
        }
    });
    let builder = Upstream::builder()
        .limits(
            Limits::new()
                .max_connections(CAP)
                .max_connections_per_origin(CAP_OF_ONE)
                .max_streams_per_connection(3)
                .idle_timeout(IDLE),
        )
        .timeouts(Timeouts::new(READ).pool(POOL).connect(CONNECT).write(WRITE))
        .connector(connector);
    let builder = match protocol {
        Protocol::Http1 => builder,
        Protocol::Http2 => builder.http2_prior_knowledge(),
    };
    builder.build().unwrap()
}

/// Asks all through the storm, and looks at what is left of it.
pub(crate) async fn live(
    protocol: Protocol,
    mut random: Random,
    report: Arc<Report>,
) -> turmoil::Result {
    let sockets = Sockets::default();
    let upstream = handle(protocol, &sockets);
    let mut requests = JoinSet::new();
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < STORM {
        number += 1;
        requests.spawn(request(upstream.clone(), number, random.split()));
        sleep(Duration::from_millis(random.below(35))).await;
    }
    while !report.is_healed() {
        sleep(TICK).await;
    }
    let failed = timeout(LONGEST + LATE, requests.join_all()).await?;
    // What a lost packet has left hanging is not idle for longer than this.
    sleep(2 * IDLE).await;
    for _ in 0..5 {
        for host in HOSTS {
            number += 1;
            ask(&upstream, host, number, None)
                .await
                .unwrap_or_else(|kind| panic!("{host} is well again, and yet: {kind:?}"));
        }
    }
    let total = upstream.stats().total;
    assert_eq!((total.in_use, total.waiting), (0, 0), "nothing is at work");
    assert_eq!(total.open, sockets.open(), "every socket is accounted for");
    upstream.drain(POOL).await;
    assert_eq!(upstream.stats().total.open, 0, "nothing is left");
    assert_eq!(sockets.open(), 0, "nor any socket");
    sockets.assert_caps();
    let failures = failed.iter().filter(|&&failed| failed).count();
    report.requests.store(failed.len(), Ordering::SeqCst);
    report.failed.store(failures, Ordering::SeqCst);
    Ok(())
}

/// One request, given up now and then. True if it failed by itself.
async fn request(upstream: Upstream, number: u64, mut random: Random) -> bool {
    let host = random.pick(&HOSTS);
    let total = random.percent(40).then_some(TOTAL);
    let patience = if random.percent(20) {
        Duration::from_millis(random.below(300))
    } else {
        Duration::MAX
    };
    let start = Instant::now();
    let result = timeout(patience, ask(&upstream, host, number, total)).await;
    let took = start.elapsed();
    let longest = total.unwrap_or(LONGEST) + LATE;
    assert!(took <= longest, "{took:?} of {longest:?}: {result:?}");
    if let Ok(Err(ErrorKind::TotalTimeout)) = result {
        assert!(took >= TOTAL, "it had all its time: {took:?}");
    }
    matches!(result, Ok(Err(_)))
}

/// Checks that the answer is the request's own.
async fn ask(
    upstream: &Upstream,
    host: &str,
    number: u64,
    total: Option<Duration>,
) -> Result<(), ErrorKind> {
    let path = format!("/{number}");
    let mut request = http::Request::get(format!("http://{host}{path}"));
    if let Some(total) = total {
        let timeouts = Timeouts::new(READ).pool(POOL).connect(CONNECT).write(WRITE);
        request = request.extension(timeouts.total(total));
    }
    let exchange = async {
        let response = upstream.send(request.body(String::new()).unwrap()).await?;
        response.into_body().text(100_000).await
    };
    let text = exchange.await.map_err(|error| {
        let kind = error.kind();
        assert_ne!(kind, ErrorKind::Internal, "{error:?}");
        kind
    })?;
    assert_eq!(text, page(host, &path), "its own answer, and all of it");
    Ok(())
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
