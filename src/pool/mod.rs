//! The pool's shell: one short lock around [`State`], what follows from it once that is released,
//! and the tasks.
//!
//! Four values own everything, and give it back when they are dropped: a [`Slot`] is one socket, a
//! [`Lease`] the right to use a connection for one exchange, a [`Waiter`] a place in the queue, and
//! a dial's task belongs to the pool. There is no other way back, so there is none to forget.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot, watch},
    time::{Instant, timeout},
};

use crate::{
    config::{Limits, RemainderPolicy, Timeouts},
    conn::{Conn, Http2Settings, Order},
    connect::Connect,
    error::{Error, ErrorKind, Phase},
    origin::Key,
    stats::{CloseCause, Drained, Stats},
    trace::{Asking, Exchange, Observer},
};

mod lease;
mod list;
mod slot;
mod spawn;
mod state;
mod waiter;

pub(crate) use self::{
    lease::Lease,
    slot::Slot,
    state::{ConnId, Dial, Terms, Ticket, Want},
};
use self::{
    state::{Actions, Checkout, Deadlines, Grant, Overdue, Refusal, State, WaiterId},
    waiter::{Answer, Rejection, Waiter},
};

/// How long the sockets may take to go once a drain has aborted them.
const ABORT_TIMEOUT: Duration = Duration::from_millis(100);

/// One pool; the handle, every slot and every lease hold on to it.
pub(crate) struct Pool {
    locked: Mutex<Locked>,
    connector: Box<dyn Connect>,
    remainder: RemainderPolicy,
    http2: Http2Settings,
    observer: Observer,
    /// True once nothing more may be dialled.
    aborted: watch::Sender<bool>,
    /// Notified at the end of a drain.
    quiet: Notify,
}

struct Locked {
    state: State<Arc<Conn>, Answer>,
    /// Where dials run that begin outside any runtime: in the drop of a body, say.
    runtime: Option<Handle>,
}

/// Either a connection at once, or a place in the queue.
enum Turn {
    Now(Lease),
    Later(Waiter),
}

impl Pool {
    pub(crate) fn new(
        limits: Limits,
        remainder: RemainderPolicy,
        http2: Http2Settings,
        connector: Box<dyn Connect>,
    ) -> Arc<Self> {
        Arc::new(Self {
            locked: Mutex::new(Locked {
                state: State::new(limits),
                runtime: None,
            }),
            connector,
            remainder,
            http2,
            observer: Observer::new(),
            aborted: watch::Sender::new(false),
            quiet: Notify::new(),
        })
    }

    // === for requests ===

    /// A connection for one exchange, which began at `start`.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would have room for its arguments twice"
    )]
    pub(crate) fn acquire(
        self: &Arc<Self>,
        key: &Key,
        timeouts: &Timeouts,
        start: Instant,
        mut want: Want,
        exchange: &Exchange,
    ) -> impl Future<Output = Result<Lease, Error>> + Send {
        async move {
            let mut asking = exchange.asks();
            loop {
                // The wait is for the waiter alone: nothing else of a turn is kept meanwhile.
                let mut waiter = match self.checkout(key, timeouts, want) {
                    Ok(Turn::Now(lease)) => match fit(lease, &mut want) {
                        Some(lease) => return Ok(got(asking, lease)),
                        None => continue,
                    },
                    Ok(Turn::Later(waiter)) => waiter,
                    Err(refusal) => return Err(self.explain(refusal.into(), key, timeouts)),
                };
                asking.queue();
                let deadlines = Deadlines::new(start, timeouts.pool, timeouts.connect);
                match waiter.wait(deadlines).await {
                    Ok(lease) => {
                        if let Some(lease) = fit(lease, &mut want) {
                            return Ok(got(asking, lease));
                        }
                    }
                    Err(rejection) => return Err(self.explain(rejection, key, timeouts)),
                }
            }
        }
    }

    fn checkout(
        self: &Arc<Self>,
        key: &Key,
        timeouts: &Timeouts,
        want: Want,
    ) -> Result<Turn, Refusal> {
        let mut actions = Actions::default();
        let mut locked = self.lock();
        let state = &mut locked.state;
        let now = Instant::now();
        let turn = match state.checkout(key, want, now, &mut actions) {
            Ok(Checkout::Now(grant)) => Ok(Turn::Now(Lease::new(self.clone(), grant))),
            Ok(Checkout::Later(place)) => {
                let (sender, receiver) = oneshot::channel();
                let queued = state.enqueue(key, place, sender, timeouts.connect, now, &mut actions);
                if let Ok(runtime) = Handle::try_current() {
                    locked.runtime = Some(runtime);
                }
                queued.map(|id| Turn::Later(Waiter::new(self.clone(), id, receiver)))
            }
            Err(refusal) => Err(refusal),
        };
        drop(locked);
        self.perform(actions, None);
        turn
    }

    fn explain(&self, rejection: Rejection, key: &Key, timeouts: &Timeouts) -> Error {
        let refusal = match rejection {
            Rejection::Dial(error) => return error,
            Rejection::Refused(refusal) => refusal,
        };
        let timed_out = |kind, phase, limit: Option<Duration>| {
            self.count(|stats| stats.count_timed_out(phase));
            let error = Error::new(kind).with_phase(phase);
            limit.into_iter().fold(error, Error::after)
        };
        let error = match refusal {
            Refusal::QueueFull => Error::new(ErrorKind::QueueFull).with_phase(Phase::Pool),
            Refusal::Draining => Error::new(ErrorKind::Draining).with_phase(Phase::Pool),
            Refusal::PoolTimeout => timed_out(ErrorKind::PoolTimeout, Phase::Pool, timeouts.pool),
            Refusal::ConnectTimeout => {
                timed_out(ErrorKind::ConnectTimeout, Phase::Connect, timeouts.connect)
            }
            Refusal::DialFailed => Error::new(ErrorKind::Internal).with_phase(Phase::Connect),
        };
        error.with_origin(key.origin())
    }

    fn overdue(self: &Arc<Self>, id: WaiterId, deadlines: Deadlines) -> Overdue {
        self.with(|state, now, out| state.overdue(id, deadlines, now, out))
    }

    fn cancel(self: &Arc<Self>, id: WaiterId) {
        self.with(|state, now, out| state.cancel(id, now, out));
    }

    fn release(self: &Arc<Self>, id: ConnId, keep: Result<Option<Duration>, CloseCause>) {
        self.with(|state, now, out| state.release(id, keep, now, out));
    }

    // === for connections ===

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(crate) fn connector(&self) -> &dyn Connect {
        &*self.connector
    }

    pub(crate) fn remainder(&self) -> RemainderPolicy {
        self.remainder
    }

    pub(crate) fn http2_settings(&self) -> Http2Settings {
        self.http2
    }

    pub(crate) fn dialed(self: &Arc<Self>, id: ConnId, conn: Arc<Conn>, terms: Terms) {
        self.with(|state, now, out| state.dialed(id, conn, terms, now, out));
    }

    pub(crate) fn upgraded(self: &Arc<Self>, id: ConnId) {
        self.with(|state, now, out| state.upgraded(id, now, out));
    }

    /// The connection takes no further exchange.
    pub(crate) fn retire(self: &Arc<Self>, id: ConnId) {
        self.with(|state, now, out| state.retire(id, now, out));
    }

    pub(crate) fn set_capacity(self: &Arc<Self>, id: ConnId, streams: usize) {
        self.with(|state, now, out| state.set_capacity(id, streams, now, out));
    }

    fn freed(self: &Arc<Self>, id: ConnId, cause: CloseCause, failure: Option<&Error>) {
        let mut actions = Actions::default();
        let now = Instant::now();
        let closed = self.lock().state.freed(id, cause, now, &mut actions);
        match (closed, failure) {
            (Some((conn, cause)), _) => conn.trace().closed(conn.origin(), cause),
            (None, Some(error)) => self.observer.connect_failed(error),
            (None, None) => {}
        }
        self.perform(actions, failure);
    }

    /// When a connection that is opened now is too old to be used again: up to a tenth earlier
    /// than its age allows, so that those opened together do not close together.
    pub(crate) fn ages_at(&self) -> Option<Instant> {
        let age = self.limits().age()?;
        let random = RandomState::new().hash_one(());
        // The upper bits, as a fraction of a tenth.
        let earlier = (random >> 32) as f64 / f64::from(u32::MAX) / 10.0;
        Some(Instant::now() + age.mul_f64(1.0 - earlier))
    }

    pub(crate) fn expire(self: &Arc<Self>, id: ConnId) -> Option<Instant> {
        self.with(|state, now, out| state.expire(id, now, out))
    }

    /// Resolves once nothing more may be dialled.
    pub(crate) async fn aborted(&self) {
        let mut aborted = self.aborted.subscribe();
        // The sender is in `self`, so the wait can only end with the value.
        let _ = aborted.wait_for(|aborted| *aborted).await;
    }

    // === for the handle ===

    pub(crate) fn stats(&self) -> Stats {
        self.lock().state.stats()
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Stats)) {
        count(self.lock().state.counters());
    }

    pub(crate) fn limits(&self) -> Limits {
        self.lock().state.limits()
    }

    pub(crate) fn set_limits(self: &Arc<Self>, limits: Limits) {
        self.with(|state, now, out| state.set_limits(limits, now, out));
    }

    /// Takes no new requests, lets the others finish, and aborts what is left at the deadline.
    pub(crate) async fn drain(self: &Arc<Self>, deadline: Duration) -> Drained {
        self.with(|state, now, out| state.drain(now, out));
        let mut drained = Drained::default();
        if timeout(deadline, self.wait_until_quiet()).await.is_err() {
            // The waiters first, or they would hear of dials that had failed.
            drained.aborted = self.with(|state, now, out| state.abort_all(now, out));
            self.aborted.send_replace(true);
            // A socket that is still there then is held by a connector that does not let go.
            let _ = timeout(ABORT_TIMEOUT, self.wait_until_quiet()).await;
        }
        drained.upgraded = self.lock().state.upgraded_count();
        self.observer.drained(&drained);
        drained
    }

    async fn wait_until_quiet(&self) {
        loop {
            // Made before the look, so that what happens between the two is not missed.
            let quiet = self.quiet.notified();
            if self.lock().state.end_if_quiet() {
                return;
            }
            quiet.await;
        }
    }

    /// The last handle is gone: nothing new begins. Whoever holds a body keeps its connection until
    /// it is read.
    pub(crate) fn close(self: &Arc<Self>) {
        self.aborted.send_replace(true);
        self.with(|state, now, out| state.drain(now, out));
    }

    // === the shell ===

    fn lock(&self) -> MutexGuard<'_, Locked> {
        // A panic under the lock is a bug of ours; the books are still the best there are.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One event: the rules under the lock, and what follows from them after it.
    fn with<R>(
        self: &Arc<Self>,
        event: impl FnOnce(&mut State<Arc<Conn>, Answer>, Instant, &mut Actions<Arc<Conn>, Answer>) -> R,
    ) -> R {
        let mut actions = Actions::default();
        let now = Instant::now();
        let result = event(&mut self.lock().state, now, &mut actions);
        self.perform(actions, None);
        result
    }

    fn perform(self: &Arc<Self>, actions: Actions<Arc<Conn>, Answer>, dial_error: Option<&Error>) {
        if actions.is_empty() {
            return;
        }
        // Destructured, so that a new action cannot be forgotten here.
        let Actions {
            grants,
            refusals,
            dials,
            closes,
            aborts,
            checks,
            quiet,
        } = actions;
        for (answer, grant) in grants {
            // A lease that nobody takes any more gives itself back.
            let _ = answer.send(Ok(Lease::new(self.clone(), grant)));
        }
        for (answer, refusal) in refusals {
            let rejection = match (refusal, dial_error) {
                (Refusal::DialFailed, Some(error)) => {
                    if error.is_timeout() {
                        self.count(|stats| stats.count_timed_out(Phase::Connect));
                    }
                    Rejection::Dial(error.clone())
                }
                _ => Rejection::Refused(refusal),
            };
            let _ = answer.send(Err(rejection));
        }
        spawn::all(self, dials);
        for conn in closes {
            conn.order(Order::Close);
        }
        for conn in aborts {
            conn.order(Order::Drain);
        }
        for conn in checks {
            conn.look_at_clock();
        }
        if quiet {
            self.quiet.notify_waiters();
        }
    }

    /// Where dials run that begin outside any runtime.
    fn runtime(&self) -> Option<Handle> {
        self.lock().runtime.clone()
    }
}

/// The lease, unless its connection has turned out not to be fit for a request, which then asks again.
/// One that has just been opened is used whatever it looks like: what is wrong with it is the
/// exchange's to say, and must not end in a loop of dials.
fn fit(lease: Lease, want: &mut Want) -> Option<Lease> {
    if !lease.is_reused() || lease.is_usable() {
        return Some(lease);
    }
    want.again = Some(lease.ticket());
    lease.discard();
    None
}

fn got(asking: Asking<'_>, lease: Lease) -> Lease {
    asking.got(lease.conn().trace(), lease.is_reused());
    lease
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
