//! How a socket is opened: the trait the pool dials through, and the connectors behind it.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Uri, uri::PathAndQuery};
use hyper::rt::{Read, Write};
use hyper_util::{client::legacy::connect::Connection, rt::TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::io::InspectReader;
use tower::{Service, ServiceExt};

use crate::{
    error::{BoxError, Error, ErrorKind},
    origin::Origin,
};

mod resolve;
mod tcp;
#[cfg(feature = "rustls")]
mod tls;

pub use self::tcp::public_addresses;
#[cfg(feature = "rustls")]
pub(crate) use self::tls::{Tls, TlsSettings};
pub(crate) use self::{
    resolve::AddressFilter,
    tcp::{Probe, Tcp},
};

/// An open connection, whatever it goes through.
pub(crate) trait Io: Read + Write + Unpin + Send {}

impl<T: Read + Write + Unpin + Send> Io for T {}

pub(crate) struct Connected {
    pub(crate) io: Box<dyn Io>,
    /// Becomes true with every byte that is read; `None` where the connector does not tell.
    pub(crate) has_read: Option<Arc<AtomicBool>>,
    pub(crate) probe: Option<Probe>,
    /// ALPN has settled on HTTP/2.
    pub(crate) http2: bool,
}

pub(crate) type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>>;

/// Opens connections. `deadline` is when the caller gives up: a hint for how long to try each of
/// several addresses.
pub(crate) trait Connect: Send + Sync + 'static {
    fn connect<'a>(&'a self, origin: &'a Origin, deadline: Option<Instant>) -> Connecting<'a>;
}

/// The connector used where the builder is given none.
pub(crate) struct DefaultConnector {
    pub(crate) tcp: Tcp,
    #[cfg(feature = "rustls")]
    pub(crate) tls: Tls,
}

impl Connect for DefaultConnector {
    fn connect<'a>(&'a self, origin: &'a Origin, deadline: Option<Instant>) -> Connecting<'a> {
        Box::pin(async move {
            if origin.is_https() && cfg!(not(feature = "rustls")) {
                return Err(Error::new(ErrorKind::Tls).with_detail(
                    "https needs the crate's feature \"rustls\", or a connector of your own",
                ));
            }
            let (wire, probe) = self.tcp.connect(origin, deadline).await?;
            #[cfg(feature = "rustls")]
            if origin.is_https() {
                let stream = self.tls.handshake(origin, wire).await?;
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                return Ok(Connected::new(stream, probe, http2));
            }
            Ok(Connected::new(wire, probe, false))
        })
    }
}

impl Connected {
    fn new<S>(stream: S, probe: Probe, http2: bool) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let has_read = Arc::new(AtomicBool::new(false));
        let note = has_read.clone();
        let stream = InspectReader::new(stream, move |bytes: &[u8]| {
            if !bytes.is_empty() {
                note.store(true, Ordering::Relaxed);
            }
        });
        Self {
            io: Box::new(TokioIo::new(stream)),
            has_read: Some(has_read),
            probe: Some(probe),
            http2,
        }
    }
}

/// A connector from outside: any `Service<Uri>` that fits hyper-util's own client, too.
pub(crate) struct Custom<C>(pub(crate) C);

impl<C> Connect for Custom<C>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connection + Send + Unpin + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    fn connect<'a>(&'a self, origin: &'a Origin, _: Option<Instant>) -> Connecting<'a> {
        let uri = origin.to_uri(PathAndQuery::from_static("/"));
        let connecting = self.0.clone().oneshot(uri);
        Box::pin(async move {
            let io = connecting.await.map_err(|error| classify(error.into()))?;
            Ok(Connected {
                http2: io.connected().is_negotiated_h2(),
                io: Box::new(io),
                has_read: None,
                probe: None,
            })
        })
    }
}

/// What a connector's error is, by the first cause that tells.
fn classify(error: BoxError) -> Error {
    if let Some(ours) = Error::find(&*error) {
        return ours.clone();
    }
    let causes = std::iter::successors(Some(&*error as &(dyn StdError + 'static)), |&e| e.source());
    let kind = causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find_map(kind_of)
        .unwrap_or(ErrorKind::Connect);
    Error::new(kind).with_source(error)
}

fn kind_of(error: &io::Error) -> Option<ErrorKind> {
    // EMFILE and ENFILE, the same numbers on every Unix; std has no kind for them.
    const NO_DESCRIPTOR: [i32; 2] = [24, 23];
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(ErrorKind::ConnectRefused),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            Some(ErrorKind::Unreachable)
        }
        io::ErrorKind::TimedOut => Some(ErrorKind::ConnectTimeout),
        io::ErrorKind::AddrNotAvailable => Some(ErrorKind::OutOfSockets),
        _ if cfg!(unix)
            && error
                .raw_os_error()
                .is_some_and(|e| NO_DESCRIPTOR.contains(&e)) =>
        {
            Some(ErrorKind::OutOfSockets)
        }
        _ => None,
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").finish_non_exhaustive()
    }
}
