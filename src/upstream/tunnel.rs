use std::{fmt, future::pending, time::Duration};

use tokio::{sync::watch, time::timeout};

/// How long tunnels may take to go once they were told to.
const END_TIMEOUT: Duration = Duration::from_millis(90);

/// The tunnels through a handle's connections. One channel tells that they are to end, and when the
/// last of them has.
#[derive(Default)]
pub(super) struct Tunnels {
    ends: watch::Sender<bool>,
}

/// A place among the [`Tunnels`], held for as long as one is open or may come to be.
pub(crate) struct Tunnel {
    ends: watch::Receiver<bool>,
}

impl Tunnels {
    pub(super) fn register(&self) -> Tunnel {
        Tunnel {
            ends: self.ends.subscribe(),
        }
    }

    /// Waits for them until the deadline, then ends the rest.
    pub(super) async fn end(&self, deadline: Duration) {
        if timeout(deadline, self.ends.closed()).await.is_err() {
            self.ends.send_replace(true);
            let _ = timeout(END_TIMEOUT, self.ends.closed()).await;
        }
    }
}

impl Tunnel {
    /// Resolves when it has to end. Without a handle there is nobody to ask for that, and it goes on
    /// as a body does.
    pub(crate) async fn ended(&mut self) {
        if self.ends.wait_for(|ends| *ends).await.is_err() {
            pending::<()>().await;
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}
