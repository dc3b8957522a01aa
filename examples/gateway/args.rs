//! What the command line says.

use std::{error::Error, fmt::Display, net::SocketAddr, str::FromStr, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use tower_upstream::{Format, Limits, Order, Origin, Timeouts, Truncate};

use crate::routes::Join;

pub(crate) const USAGE: &str = "\
gateway --listen ADDR [--gather URL]... [--forward-to ORIGIN]
        --max-connections N --max-connections-per-origin N --max-idle N --idle-timeout D
        --max-age D --max-pending N
        --connect-timeout D --read-timeout D --write-timeout D --pool-timeout D
        --total-timeout D --drain-timeout D
        --max-in-flight N --max-admission-pending N --wait D
        --truncate-chars N | --truncate-bytes N  --truncate-forward
        --format text|ndjson|json --order request|completion
        --http2-prior-knowledge --ca-file PEM --threads N  --admin ADDR

Durations as 500ms or 15s.
GET / gathers every --gather URL, each cut; ANY /proxy/* goes to --forward-to, cut only by
--truncate-forward; GET /stats and GET /metrics tell of the pool. At --admin a page shows it live, and
where the time goes, which /metrics then tells too.";

pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) gather: Join,
    pub(crate) forward_to: Option<Origin>,
    pub(crate) truncate_forward: bool,
    pub(crate) http2_prior_knowledge: bool,
    pub(crate) limits: Limits,
    /// For the page to show beside what is open.
    pub(crate) max_connections: usize,
    pub(crate) timeouts: Timeouts,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) max_admission_pending: Option<usize>,
    pub(crate) wait: Option<Duration>,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) threads: Option<usize>,
    pub(crate) admin: Option<SocketAddr>,
}

impl Options {
    /// `None` when help is asked for.
    pub(crate) fn parse(
        arguments: impl Iterator<Item = String>,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let mut options = Self {
            listen: ([127, 0, 0, 1], 3000).into(),
            gather: Join {
                urls: Vec::new(),
                truncate: None,
                format: Format::text(),
                order: Order::Request,
            },
            forward_to: None,
            truncate_forward: false,
            http2_prior_knowledge: false,
            limits: Limits::new(),
            max_connections: 100,
            timeouts: Timeouts::default(),
            drain_timeout: Duration::from_secs(10),
            max_in_flight: None,
            max_admission_pending: None,
            wait: None,
            authorities: Vec::new(),
            threads: None,
            admin: None,
        };
        let mut arguments = Arguments(arguments);
        while let Some(flag) = arguments.0.next() {
            if flag == "--help" || flag == "-h" {
                return Ok(None);
            }
            options.set(&flag, &mut arguments)?;
        }
        Ok(Some(options))
    }

    fn set<I>(&mut self, flag: &str, from: &mut Arguments<I>) -> Result<(), Box<dyn Error>>
    where
        I: Iterator<Item = String>,
    {
        let (limits, timeouts) = (self.limits, self.timeouts);
        match flag {
            "--listen" => self.listen = from.value(flag)?,
            "--gather" => self.gather.urls.push(from.value(flag)?),
            "--forward-to" => self.forward_to = Some(from.value(flag)?),
            "--truncate-forward" => self.truncate_forward = true,
            "--http2-prior-knowledge" => self.http2_prior_knowledge = true,
            "--max-connections" => {
                self.max_connections = from.value(flag)?;
                self.limits = limits.max_connections(self.max_connections);
            }
            "--max-connections-per-origin" => {
                self.limits = limits.max_connections_per_origin(from.value::<usize>(flag)?);
            }
            "--max-idle" => self.limits = limits.max_idle_connections(from.value(flag)?),
            "--idle-timeout" => self.limits = limits.idle_timeout(from.duration(flag)?),
            "--max-age" => self.limits = limits.max_connection_age(from.duration(flag)?),
            "--max-pending" => self.limits = limits.max_pending(from.value(flag)?),
            "--connect-timeout" => self.timeouts = timeouts.connect(from.duration(flag)?),
            "--read-timeout" => self.timeouts = timeouts.read(from.duration(flag)?),
            "--write-timeout" => self.timeouts = timeouts.write(from.duration(flag)?),
            "--pool-timeout" => self.timeouts = timeouts.pool(from.duration(flag)?),
            "--total-timeout" => self.timeouts = timeouts.total(from.duration(flag)?),
            "--drain-timeout" => self.drain_timeout = from.duration(flag)?,
            "--max-in-flight" => self.max_in_flight = Some(from.at_least_one(flag)?),
            "--max-admission-pending" => self.max_admission_pending = Some(from.value(flag)?),
            "--wait" => self.wait = Some(from.duration(flag)?),
            "--truncate-chars" => self.gather.truncate = Some(Truncate::chars(from.value(flag)?)),
            "--truncate-bytes" => self.gather.truncate = Some(Truncate::bytes(from.value(flag)?)),
            "--format" => {
                self.gather.format = match from.value::<String>(flag)?.as_str() {
                    "text" => Format::text(),
                    "ndjson" => Format::ndjson(),
                    "json" => Format::json(),
                    other => return Err(format!("--format {other}: text, ndjson or json").into()),
                }
            }
            "--order" => {
                self.gather.order = match from.value::<String>(flag)?.as_str() {
                    "request" => Order::Request,
                    "completion" => Order::Completion,
                    other => return Err(format!("--order {other}: request or completion").into()),
                }
            }
            "--ca-file" => {
                let file: String = from.value(flag)?;
                let read = |error| format!("--ca-file {file}: {error}");
                self.authorities = CertificateDer::pem_file_iter(&file)
                    .map_err(read)?
                    .collect::<Result<_, _>>()
                    .map_err(read)?;
            }
            "--threads" => self.threads = Some(from.at_least_one(flag)?),
            "--admin" => self.admin = Some(from.value(flag)?),
            _ => return Err(format!("unknown flag {flag}; --help lists them").into()),
        }
        Ok(())
    }
}

struct Arguments<I>(I);

impl<I: Iterator<Item = String>> Arguments<I> {
    fn value<T: FromStr<Err: Display>>(&mut self, flag: &str) -> Result<T, Box<dyn Error>> {
        let value = self
            .0
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        Ok(value
            .parse()
            .map_err(|error| format!("{flag} {value}: {error}"))?)
    }

    fn at_least_one(&mut self, flag: &str) -> Result<usize, Box<dyn Error>> {
        match self.value(flag)? {
            0 => Err(format!("{flag} 0: it must be at least 1").into()),
            n => Ok(n),
        }
    }

    /// `500ms` or `15s`.
    fn duration(&mut self, flag: &str) -> Result<Duration, Box<dyn Error>> {
        let value: String = self.value(flag)?;
        let parsed = match value.strip_suffix("ms") {
            Some(millis) => millis.parse().ok().map(Duration::from_millis),
            None => value
                .strip_suffix('s')
                .and_then(|s| s.parse().ok().map(Duration::from_secs)),
        };
        Ok(parsed.ok_or_else(|| format!("{flag} {value}: a duration looks like 500ms or 15s"))?)
    }
}
