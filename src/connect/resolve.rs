//! Looking names up: on at most four threads, and once for all who ask for a name at a time.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::sync::Semaphore;

use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
};

/// Says whether an address may be connected to.
pub(crate) type AddressFilter = Arc<dyn Fn(&IpAddr) -> bool + Send + Sync>;

/// The system has no look-up that does not block its thread.
const THREADS: usize = 4;

type Answer = Result<Arc<[IpAddr]>, Arc<io::Error>>;

pub(super) struct Resolver {
    threads: Arc<Semaphore>,
    /// The look-ups under way, by name.
    asked: Mutex<HashMap<Box<str>, WeakShared<BoxFuture<'static, Answer>>>>,
    filter: Option<AddressFilter>,
}

impl Resolver {
    pub(super) fn new(filter: Option<AddressFilter>) -> Self {
        Self {
            threads: Arc::new(Semaphore::new(THREADS)),
            asked: Mutex::default(),
            filter,
        }
    }

    /// The origin's addresses that may be connected to: at least one.
    pub(super) async fn addresses(&self, origin: &Origin) -> Result<Vec<IpAddr>, Error> {
        let host = origin.host();
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let mut addresses = match literal {
            Ok(address) => vec![address],
            Err(_) => self
                .look_up(host)
                .await
                .map_err(|source| Error::new(ErrorKind::Dns).with_source(source))?
                .to_vec(),
        };
        if addresses.is_empty() {
            return Err(Error::new(ErrorKind::Dns).with_detail("the name has no address"));
        }
        if let Some(allowed) = &self.filter {
            // An IPv4 address reaches the same host in its IPv6 clothes.
            addresses.retain(|address| allowed(&address.to_canonical()));
            if addresses.is_empty() {
                return Err(Error::new(ErrorKind::TargetDenied));
            }
        }
        Ok(addresses)
    }

    async fn look_up(&self, host: &str) -> Answer {
        let name: Box<str> = host.to_ascii_lowercase().into();
        let look_up = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that ended, or that nobody waits for any more.
            asked.retain(|_, look_up| {
                look_up
                    .upgrade()
                    .is_some_and(|shared| shared.peek().is_none())
            });
            match asked.get(&name).and_then(WeakShared::upgrade) {
                Some(look_up) => look_up,
                None => {
                    let look_up = self.start(name.clone());
                    if let Some(weak) = look_up.downgrade() {
                        asked.insert(name, weak);
                    }
                    look_up
                }
            }
        };
        look_up.await
    }

    fn start(&self, name: Box<str>) -> Shared<BoxFuture<'static, Answer>> {
        let threads = self.threads.clone();
        async move {
            // Goes along to the thread, which nobody can stop: the count is right even when the
            // one who asked has left.
            let permit = threads.acquire_owned().await;
            let look_up = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let addresses = (&*name, 0).to_socket_addrs()?;
                Ok(addresses.map(|address| address.ip()).collect())
            });
            match look_up.await {
                Ok(answer) => answer.map_err(Arc::new),
                Err(panic) => Err(Arc::new(io::Error::other(panic))),
            }
        }
        .boxed()
        .shared()
    }
}
