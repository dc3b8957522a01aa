//! An upstream that is dead for half a minute under twice the load, and comes back.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::DuplexStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, interval, sleep, sleep_until},
};
use tower_upstream::{ErrorKind, Limits, Upstream};

use crate::support::{
    Peer,
    dials::{Dials, Gate},
    sized,
};

/// Ten connections, each of which serves fifty requests a second.
const CAP: usize = 10;
const SERVICE: Duration = Duration::from_millis(20);

/// 200 requests a second, and twice as many from when the upstream dies.
const EVERY: Duration = Duration::from_millis(5);

const BEFORE: Duration = Duration::from_secs(5);
const DEAD: Duration = Duration::from_secs(30);
const AFTER: Duration = Duration::from_secs(15);

/// What there was of a stretch of time.
#[derive(Debug, Default)]
struct Stretch {
    offered: usize,
    answered: usize,
}

/// Answers while the upstream lives, and is as dead as it is otherwise.
async fn serve(mut peer: Peer<DuplexStream>, mut life: watch::Receiver<Gate>) -> io::Result<()> {
    loop {
        let dies = async |life: &mut watch::Receiver<Gate>| {
            let died = life.wait_for(|gate| *gate != Gate::Open).await;
            *died.unwrap()
        };
        let exchange = async {
            let request = peer.request().await?;
            if request.is_some() {
                sleep(SERVICE).await;
                peer.write(sized("x")).await?;
            }
            io::Result::Ok(request.is_some())
        };
        tokio::select! {
            gate = dies(&mut life) => {
                if gate == Gate::Lost {
                    peer.closed().await;
                }
                return Ok(());
            }
            served = exchange => if !served? {
                return Ok(());
            }
        }
    }
}

/// The goodput of each second, and the dials and requests that came to the upstream or tried to.
struct Run {
    seconds: Vec<Stretch>,
    dialed_while_dead: usize,
    dialed_after: usize,
}

async fn run(death: Gate) -> Run {
    let (life, alive) = watch::channel(Gate::Open);
    let script = alive.clone();
    let dials = Dials::to(move |peer| serve(peer, script.clone())).gated(move |_| *alive.borrow());
    let limits = Limits::new().max_connections(CAP);
    let upstream = dials.builder().limits(limits).build().unwrap();

    let start = Instant::now();
    let outage = tokio::spawn({
        let dials = dials.clone();
        async move {
            sleep_until(start + BEFORE).await;
            let dialed_before = dials.dialed();
            life.send_replace(death);
            sleep_until(start + BEFORE + DEAD).await;
            let dialed = dials.dialed();
            life.send_replace(Gate::Open);
            (life, dialed - dialed_before, dialed)
        }
    });
    let seconds = offer(&upstream, start).await;
    let (_life, dialed_while_dead, dialed) = outage.await.unwrap();
    let dialed_after = dials.dialed() - dialed;
    assert!(
        dials.peak() <= CAP,
        "no more dials and connections than may be"
    );
    Run {
        seconds,
        dialed_while_dead,
        dialed_after,
    }
}

/// Offers requests whether or not there are answers, and counts what came of those of each second.
async fn offer(upstream: &Upstream, start: Instant) -> Vec<Stretch> {
    let mut requests = JoinSet::new();
    let mut ticks = interval(EVERY);
    let uri: Arc<str> = "http://in.process/".into();
    while start.elapsed() < BEFORE + DEAD + AFTER {
        let at = ticks.tick().await.duration_since(start);
        let twice = if at < BEFORE { 1 } else { 2 };
        for _ in 0..twice {
            let (upstream, uri) = (upstream.clone(), uri.clone());
            requests.spawn(async move {
                let exchange = async {
                    let response = upstream.get(&*uri).await?;
                    response.into_body().bytes(10).await
                };
                let result = exchange.await;
                let second = usize::try_from(at.as_secs()).unwrap();
                (second, result.map_err(|error| error.kind()))
            });
        }
    }
    let mut seconds = Vec::new();
    seconds.resize_with(51, Stretch::default);
    while let Some(request) = requests.join_next().await {
        let (second, result) = request.unwrap();
        seconds[second].offered += 1;
        match result {
            Ok(_) => seconds[second].answered += 1,
            Err(kind) => assert_ne!(kind, ErrorKind::Internal),
        }
    }
    seconds
}

impl Run {
    fn assert_recovered(&self) {
        let of = |seconds: &[Stretch]| {
            let offered: usize = seconds.iter().map(|second| second.offered).sum();
            let answered: usize = seconds.iter().map(|second| second.answered).sum();
            (offered, answered)
        };
        let (offered, answered) = of(&self.seconds[..4]);
        assert_eq!(offered, answered, "all is well before");
        // Of the last, some may have waited for as long as it was dead.
        let (_, answered) = of(&self.seconds[6..25]);
        assert_eq!(answered, 0, "it is dead");
        let (offered, _) = of(&self.seconds[5..35]);
        assert!(
            self.dialed_while_dead * 10 <= offered * 12,
            "{} attempts for {offered} requests",
            self.dialed_while_dead
        );
        let back = self.seconds[35..].iter().map(|s| (s.answered, s.offered));
        let (offered, answered) = of(&self.seconds[40..]);
        assert!(
            answered * 100 >= offered * 95,
            "five seconds later all is well again: {:?}",
            back.collect::<Vec<_>>()
        );
        assert!(
            self.dialed_after <= 2 * CAP,
            "a dial for each connection, and those that were lost: {}",
            self.dialed_after
        );
        for (second, stretch) in self.seconds.iter().enumerate().skip(35).take(6) {
            eprintln!("second {}: {stretch:?}", second - 35);
        }
        eprintln!(
            "{} dials in the outage, {} after it",
            self.dialed_while_dead, self.dialed_after
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_refused_for_half_a_minute_is_used_again_at_once() {
    run(Gate::Refused).await.assert_recovered();
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_was_silent_for_half_a_minute_is_used_again_within_seconds() {
    run(Gate::Lost).await.assert_recovered();
}
