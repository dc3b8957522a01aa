//! A handle that meets a fault, and everything that must be true of it afterwards.

use std::{
    cell::Cell,
    collections::HashMap,
    error::Error as _,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::request::Builder;
use tokio::{runtime::Handle, sync::Barrier, time::timeout};
use tower_upstream::{Error, Upstream, UpstreamBuilder};

use super::{
    Peer, Received, Server,
    alone::{descriptors, is_alone},
    echo, eventually, front, sized,
    sockets::{connected_to_any, memory_of},
};

/// How many connections a trial's handle may have, where the test does not say.
pub(crate) const CAP: usize = 2;

/// Longer than anything takes that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// In the query, in a header and in the body of every request; and in no error.
const SECRET: &str = "hunter2";

/// What a connection of HTTP/2 may hold at most, times [`CAP`], and as much as half of it again.
const GROWTH: usize = 80 << 20;

/// A handle, what was there before it, and what has come of its requests.
pub(crate) struct Trial {
    pub(crate) upstream: Upstream,
    cap: usize,
    before: Before,
    watch: Arc<Watch>,
    /// Another origin, which is always well.
    other: Server,
    sent: AtomicUsize,
}

/// What there was before the handle.
struct Before {
    tasks: usize,
    panics: usize,
    descriptors: usize,
    memory: usize,
}

/// The most there ever was, looked at where it grows: as a connection is accepted.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    addresses: Mutex<Vec<SocketAddr>>,
    sockets: AtomicUsize,
    memory: AtomicUsize,
}

impl Trial {
    /// With a handle of [`CAP`] connections.
    pub(crate) async fn start(builder: UpstreamBuilder) -> Self {
        Self::capped(CAP, builder).await
    }

    /// With a handle that may have `cap` connections: the builder's limits must say the same.
    pub(crate) async fn capped(cap: usize, builder: UpstreamBuilder) -> Self {
        let before = Before::now();
        let watch = Arc::<Watch>::default();
        let meeting = Arc::new(Barrier::new(cap));
        let other = Server::start(move |peer| echo::meeting(peer, meeting.clone())).await;
        watch.add(other.address);
        Self {
            upstream: builder.build().unwrap(),
            cap,
            before,
            watch,
            other,
            sent: AtomicUsize::new(0),
        }
    }

    /// An upstream that runs `script` for each connection.
    pub(crate) async fn server<F, Fut>(&self, script: F) -> Server
    where
        F: Fn(Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let watch = self.watch.clone();
        let server = Server::start(move |peer| {
            watch.look();
            script(peer)
        })
        .await;
        self.watch.add(server.address);
        server
    }

    /// An upstream that answers with the request's id, but for requests to `/fault`, which `fault`
    /// answers. A connection on which it has may carry no other request.
    pub(crate) async fn faulty<F, Fut>(&self, fault: F) -> Server
    where
        F: Fn(Peer, Received) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Peer>> + Send + 'static,
    {
        self.server(move |mut peer| {
            let fault = fault.clone();
            async move {
                while let Some(request) = peer.request().await? {
                    if request.path().starts_with("/fault") {
                        peer.fault();
                        peer = fault(peer, request).await?;
                    } else {
                        peer.write(sized(request.id())).await?;
                    }
                }
                Ok(())
            }
        })
        .await
    }

    /// As [`faulty`](Self::faulty), with these bytes as the answer to `/fault`.
    pub(crate) async fn saying(&self, bytes: impl Into<Vec<u8>>) -> Server {
        let bytes = Arc::new(bytes.into());
        self.faulty(move |mut peer, _| {
            let bytes = bytes.clone();
            async move {
                peer.write(&*bytes).await?;
                Ok(peer)
            }
        })
        .await
    }

    /// Counts the sockets to an upstream that is not one of [`server`](Self::server).
    pub(crate) fn count_sockets_to(&self, address: SocketAddr) {
        self.watch.add(address);
    }

    /// For scripts that have more to look at than their accepts.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }

    /// A request that carries its id, and secrets.
    pub(crate) fn request(&self, method: &str, uri: &str) -> Builder {
        let request = http::Request::builder().method(method);
        let request = request.uri(format!("{uri}?token={SECRET}"));
        self.name(request.header("authorization", format!("Bearer {SECRET}")))
    }

    /// Gives a request its id.
    pub(crate) fn name(&self, request: Builder) -> Builder {
        let id = self.sent.fetch_add(1, Ordering::SeqCst);
        request.header("x-id", format!("request-{id}"))
    }

    /// A whole exchange: the text, or the error, which is safe to show.
    pub(crate) async fn send(&self, request: http::Request<String>) -> Result<String, Error> {
        let exchange = async {
            let response = self.upstream.send(request).await?;
            response.into_body().text(1 << 20).await
        };
        let result = timeout(PATIENCE, exchange).await;
        let result = result.expect("an exchange ends");
        if let Err(error) = &result {
            assert_shows_no_secret(error);
        }
        result
    }

    /// A GET's whole exchange.
    pub(crate) async fn get(&self, uri: impl AsRef<str>) -> Result<String, Error> {
        let request = self.request("GET", uri.as_ref());
        self.send(request.body(String::new()).unwrap()).await
    }

    /// A GET that fails.
    pub(crate) async fn fails(&self, uri: impl AsRef<str>) -> Error {
        let error = self.get(uri).await;
        error.expect_err("this is a fault, and not an answer")
    }

    /// A POST's whole exchange.
    pub(crate) async fn post(&self, uri: impl AsRef<str>) -> Result<String, Error> {
        let request = self.request("POST", uri.as_ref());
        self.send(request.body(SECRET.to_owned()).unwrap()).await
    }

    /// So many requests at once, each of which must get its own answer.
    async fn canaries(&self, count: usize, uri: &str) {
        let requests = (0..count).map(|_| async {
            let request = self.request("GET", uri);
            let id = request.headers_ref().unwrap()["x-id"].clone();
            let text = self.send(request.body(String::new()).unwrap()).await;
            assert_eq!(text.unwrap(), id, "a canary gets its own answer at {uri}");
        });
        join_all(requests).await;
    }

    /// The end of the trial. After the fault everything is as it was before:
    ///
    /// 1. within two seconds nothing is connecting, in use, closing or waiting;
    /// 2. there never were more sockets than the cap, as the kernel and the pool count them;
    /// 3. requests to the same origins, and to another, all get their own answers, as many at once as
    ///    there may be connections;
    /// 4. no connection that saw a fault has carried another request;
    /// 5. no request has reached an upstream twice, unless it is idempotent, and those no more often
    ///    than that;
    /// 6. nothing has panicked;
    /// 7. no socket, no task and, where this process runs one test alone, no descriptor is left;
    /// 8. where it runs alone, memory is bounded.
    ///
    /// That errors show no secret was seen when they came. That they come in time is for the test to
    /// say, which knows the time. `servers` are those that are well again. Fronts on this thread end.
    pub(crate) async fn over(self, servers: impl IntoIterator<Item = Server>) {
        let servers: Vec<_> = servers.into_iter().collect();
        self.assert_at_rest().await;
        for server in &servers {
            self.canaries(2 * self.cap, &server.uri("/canary")).await;
        }
        self.canaries(self.cap, &self.other.uri("/meet")).await;
        self.ended(servers).await;
    }

    /// The same where the handle has ended, and takes no more requests.
    pub(crate) async fn ended(self, servers: impl IntoIterator<Item = Server>) {
        let servers: Vec<_> = servers.into_iter().collect();
        front::stop();
        self.assert_at_rest().await;
        self.watch.look();
        let most = self.watch.sockets.load(Ordering::SeqCst);
        assert!(most <= self.cap, "{most} sockets, and {} allowed", self.cap);
        let peak = self.upstream.stats().peak;
        assert!(peak <= self.cap, "{peak} in the pool's own count");
        for server in servers.iter().chain([&self.other]) {
            assert_sent_once(server);
        }
        let Self {
            upstream,
            before,
            watch,
            other,
            ..
        } = self;
        drop(upstream);
        let addresses = watch.addresses.lock().unwrap().clone();
        eventually("every socket is closed", || {
            connected_to_any(&addresses) == 0
        })
        .await;
        drop((servers, other));
        before.assert_is_now(&watch).await;
    }

    async fn assert_at_rest(&self) {
        eventually("nothing is at work and nobody waits", || {
            let total = self.upstream.stats().total;
            total.connecting + total.in_use + total.closing + total.waiting == 0
        })
        .await;
    }
}

/// What a client is told shows no address; what a log is told shows no secret.
#[track_caller]
fn assert_shows_no_secret(error: &Error) {
    let told = error.kind().to_string();
    let is_address = |c: char| c.is_ascii_digit() || c == ':' || c == '/';
    assert!(!told.contains(is_address), "an address is told: {told}");
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: Vec<_> = causes.map(|cause| format!("{cause} {cause:?}")).collect();
    let logged = format!("{told} {error} {error:?} {causes:?}");
    assert!(!logged.contains(SECRET), "a secret is shown: {logged}");
}

/// Nothing came after a fault, and nothing came twice that may not.
#[track_caller]
fn assert_sent_once(server: &Server) {
    let seen = server.seen();
    let late: Vec<_> = seen.iter().filter(|seen| seen.after_a_fault).collect();
    assert!(late.is_empty(), "on a connection with a fault: {late:?}");
    let mut times = HashMap::<_, usize>::new();
    for seen in &seen {
        // Who writes requests by hand has to count them by hand.
        if let Some(id) = &seen.id {
            *times.entry((id, &seen.method)).or_default() += 1;
        }
    }
    for ((id, method), times) in times {
        let most = if method == "POST" { 1 } else { 2 };
        assert!(times <= most, "{method} {id} has come {times} times");
    }
}

// === impl Watch ===

impl Watch {
    fn add(&self, address: SocketAddr) {
        self.addresses.lock().unwrap().push(address);
    }

    /// Looks at what there is now.
    pub(crate) fn look(&self) {
        let open = connected_to_any(&self.addresses.lock().unwrap());
        self.sockets.fetch_max(open, Ordering::SeqCst);
        if is_alone() {
            let memory = memory_of(std::process::id());
            self.memory.fetch_max(memory, Ordering::SeqCst);
        }
    }
}

// === impl Before ===

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// The panics on this thread, on which all tasks of a test's runtime are.
fn panics() -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            previous(info);
        }));
    });
    PANICS.get()
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

impl Before {
    fn now() -> Self {
        Self {
            tasks: tasks(),
            panics: panics(),
            descriptors: descriptors(),
            memory: memory_of(std::process::id()),
        }
    }

    async fn assert_is_now(&self, watch: &Watch) {
        eventually("every task has ended", || tasks() <= self.tasks).await;
        assert_eq!(panics(), self.panics, "nothing has panicked");
        if is_alone() {
            eventually("every descriptor is closed", || {
                descriptors() <= self.descriptors
            })
            .await;
            let most = watch.memory.load(Ordering::SeqCst);
            let grown = most.saturating_sub(self.memory);
            assert!(grown < GROWTH, "memory has grown by {grown} bytes");
        }
    }
}
