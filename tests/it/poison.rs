//! An upstream that sends bytes nobody asked for: none of them may become another request's answer.
//!
//! HTTP/1.1 numbers nothing, so what comes once a request is out is its answer as far as anybody can
//! tell. What had come before the request's checkout is told apart, whether or not the connection's
//! driver has heard of it: that is what is held to here. What comes later is counted and printed.
//!
//! ```text
//! cargo test --release --all-features --test it -- --ignored --nocapture poison
//! ```
//!
//! `POISON_SEED=n` repeats the run that printed `n`.

use std::{
    io,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::yield_now,
};
use tokio_rustls::TlsAcceptor;
use tower_upstream::{Limits, Upstream};

use crate::{
    support::{Peer, Received, Server, random::Random, sized},
    tls::Authority,
};

const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL";

/// What is sent that nobody asked for.
const EXTRAS: [&str; 6] = [
    EVIL,
    "HTTP/1.1 408 Request Timeout\r\ncontent-length: 4\r\nconnection: close\r\n\r\nEVIL",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\nEVIL",
    "HTTP/1.1 200 O",
    "\r\n",
];

/// When it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// In the same piece as the response, before it: its own request has only itself to thank.
    Before,
    /// In the same piece, after it.
    With,
    /// In a piece of its own, at once.
    After,
    /// Once the connection is idle.
    Idle,
    /// About when the next request goes out.
    Late,
}

const ALL: [When; 5] = [
    When::Before,
    When::With,
    When::After,
    When::Idle,
    When::Late,
];

/// One trial's upstream and client know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// The first response has been read.
    read: Notify,
    /// The extra bytes have come to the client's socket.
    arrived: AtomicBool,
    arrival: Notify,
}

fn path(when: When, extra: usize, size: usize, id: usize) -> String {
    format!("/{}/{extra}/{size}/{id}", when as usize)
}

/// The answer to the request with this path, of about so many bytes.
fn answer(path: &str, size: usize) -> String {
    format!("{path} {}", ".".repeat(size))
}

fn numbers(request: &Received) -> Vec<usize> {
    let numbers = request.path().split('/').skip(1);
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// Waits until what this thread has written on loopback has come to its socket: the kernel delivers
/// in order, so a datagram to oneself comes after it. It blocks, so that no driver hears of it first.
fn wait_until_delivered() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(socket.local_addr()?)?;
    socket.send(b"x")?;
    socket.recv(&mut [0])?;
    Ok(())
}

/// Answers every request, and sends the extra bytes that its path asks for.
async fn poison<S>(mut peer: Peer<S>, shared: Arc<Shared>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(request) = peer.request().await? {
        let [when, extra, size, id] = numbers(&request)[..] else {
            panic!("nobody asks for {}", request.path());
        };
        let response = sized(answer(request.path(), size));
        let Some(&extra) = EXTRAS.get(extra) else {
            peer.write(response).await?;
            continue;
        };
        match ALL[when] {
            When::Before => peer.write([extra.as_bytes(), &response].concat()).await?,
            When::With => peer.write([&response, extra.as_bytes()].concat()).await?,
            When::After => {
                peer.write(response).await?;
                peer.write(extra).await?;
            }
            When::Idle | When::Late => {
                peer.write(response).await?;
                shared.read.notified().await;
                if ALL[when] == When::Late {
                    for _ in 0..id % 8 {
                        yield_now().await;
                    }
                }
                peer.write(extra).await?;
            }
        }
        wait_until_delivered()?;
        shared.arrived.store(true, Ordering::SeqCst);
        shared.arrival.notify_one();
    }
    Ok(())
}

async fn start(shared: &Arc<Shared>, tls: Option<&Authority>) -> Server {
    let shared = shared.clone();
    let acceptor = tls.map(|authority| TlsAcceptor::from(authority.server.clone()));
    Server::start(move |peer| {
        let (shared, acceptor) = (shared.clone(), acceptor.clone());
        async move {
            // Its sockets leave nothing behind that a hundred thousand others would run into.
            peer.stream.set_zero_linger()?;
            match acceptor {
                None => poison(peer, shared).await,
                Some(acceptor) => {
                    let peer = peer.through(|stream| acceptor.accept(stream)).await?;
                    poison(peer, shared).await
                }
            }
        }
    })
    .await
}

struct Trials {
    shared: Arc<Shared>,
    base: String,
    authority: Authority,
    upstream: Upstream,
    random: Random,
    /// Wrong answers for bytes that came after the checkout.
    raced: usize,
}

impl Trials {
    async fn run(trials: usize, when: &[When], tls: bool) -> usize {
        let shared = Arc::<Shared>::default();
        let authority = Authority::new("localhost");
        let server = start(&shared, tls.then_some(&authority)).await;
        let scheme = if tls { "https" } else { "http" };
        let mut all = Self {
            base: format!("{scheme}://localhost:{}", server.address.port()),
            upstream: upstream(&authority),
            shared,
            authority,
            random: Random::from_env("POISON_SEED"),
            raced: 0,
        };
        for id in 0..trials {
            let when = all.random.pick(when);
            all.trial(id, when).await;
        }
        all.raced
    }

    async fn get(&self, path: &str) -> String {
        let uri = format!("{}{path}", self.base);
        let response = self.upstream.get(uri).await;
        let body = response.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        body.into_body().text(100_000).await.unwrap()
    }

    /// A request whose answer brings extra bytes, and one after it.
    async fn trial(&mut self, id: usize, when: When) {
        self.shared.arrived.store(false, Ordering::SeqCst);
        let size = self.random.index(20_000);
        // Its own request takes what is before its response for that, and must be able to.
        let extras = if when == When::Before {
            1
        } else {
            EXTRAS.len()
        };
        let path = path(when, self.random.index(extras), size, id);
        let first = self.get(&path).await;
        if when != When::Before {
            assert_eq!(first, answer(&path, size));
        }
        if matches!(when, When::Idle | When::Late) {
            self.shared.read.notify_one();
        }
        if when != When::Late {
            self.shared.arrival.notified().await;
        }
        // Now and then the driver is the first to look.
        for _ in 0..self.random.index(4) {
            yield_now().await;
        }
        let arrived = self.shared.arrived.load(Ordering::SeqCst);
        let next = format!("/0/{}/7/{id}", EXTRAS.len());
        let uri = format!("{}{next}", self.base);
        let exchange = async {
            let response = self.upstream.get(uri).await?;
            response.into_body().text(100_000).await
        };
        let second = exchange.await;
        let right = matches!(&second, Ok(text) if *text == answer(&next, 7));
        assert!(
            right || !arrived,
            "what had come before the checkout of {next} is not its answer: {second:?}, after {path}"
        );
        assert_eq!(self.upstream.stats().peak, 1, "it is one connection's");
        if when == When::Late {
            self.raced += usize::from(!right);
            self.shared.arrival.notified().await;
            // What is on its way is no matter of the next trial.
            self.upstream = upstream(&self.authority);
        }
    }
}

fn upstream(authority: &Authority) -> Upstream {
    let builder = Upstream::builder().limits(Limits::new().max_connections(1));
    builder.tls(authority.trusting.clone()).build().unwrap()
}

const BEFORE_CHECKOUT: [When; 4] = [When::Before, When::With, When::After, When::Idle];

#[tokio::test]
async fn bytes_that_came_before_a_checkout_are_no_answer_to_it() {
    Trials::run(1700, &BEFORE_CHECKOUT, false).await;
}

#[tokio::test]
async fn bytes_that_came_before_a_checkout_in_tls_are_no_answer_to_it() {
    Trials::run(100, &BEFORE_CHECKOUT, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_come_at_a_checkout_are_no_answer_to_it_if_they_were_first() {
    let trials = tokio::spawn(Trials::run(200, &ALL, false));
    trials.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_hundred_thousand_answers_with_extra_bytes_poison_no_other() {
    for (trials, when, tls) in [
        (70_000, &BEFORE_CHECKOUT[..], false),
        (10_000, &BEFORE_CHECKOUT[..], true),
        (20_000, &[When::Late][..], false),
    ] {
        let raced = tokio::spawn(Trials::run(trials, when, tls)).await.unwrap();
        eprintln!("{trials} trials, TLS {tls}, {when:?}: {raced} bytes that came later were taken");
    }
}
