//! TCP: one socket at a time, so that a slot is never two sockets.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, timeout_at},
};

use super::{
    classify,
    resolve::{AddressFilter, Resolver},
};
use crate::{error::Error, origin::Origin};

pub(crate) struct Tcp {
    resolver: Resolver,
}

impl Tcp {
    pub(crate) fn new(filter: Option<AddressFilter>) -> Self {
        Self {
            resolver: Resolver::new(filter),
        }
    }

    /// Tries the origin's addresses in turn. They share the time until `deadline`: each may take an
    /// equal part of what is left.
    pub(super) async fn connect(
        &self,
        origin: &Origin,
        deadline: Option<Instant>,
    ) -> Result<(Wire, Probe), Error> {
        let addresses = self.resolver.addresses(origin).await?;
        let addresses = addresses
            .iter()
            .map(|&ip| SocketAddr::new(ip, origin.port()));
        let stream = in_turn(addresses, deadline).await;
        stream
            .map(Wire::new)
            .map_err(|error| classify(error.into()))
    }
}

async fn in_turn(
    addresses: impl ExactSizeIterator<Item = SocketAddr>,
    deadline: Option<Instant>,
) -> io::Result<TcpStream> {
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    // The resolver gives at least one address, so there is another error to tell.
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        let until = deadline.map(|at| {
            let now = Instant::now();
            now + at.saturating_duration_since(now) / left
        });
        match connect(address, until).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
        left -= 1;
    }
    Err(failed)
}

async fn connect(address: SocketAddr, until: Option<Instant>) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect(address);
    let stream = match until {
        Some(at) => timeout_at(at, connecting)
            .await
            .map_err(io::Error::from)??,
        None => connecting.await?,
    };
    // A request is written in one piece; holding it back for more only adds a round trip.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An open TCP connection, whose socket the [`Probe`] can look at.
pub(crate) struct Wire {
    read: OwnedReadHalf,
    /// Shared with the probe, and emptied when this is dropped: the socket closes then and not
    /// when the probe goes.
    write: Arc<Mutex<Option<OwnedWriteHalf>>>,
}

/// A look at a connection's socket from outside its driver.
#[derive(Debug)]
pub(crate) struct Probe(Arc<Mutex<Option<OwnedWriteHalf>>>);

impl Wire {
    fn new(stream: TcpStream) -> (Self, Probe) {
        let (read, write) = stream.into_split();
        let write = Arc::new(Mutex::new(Some(write)));
        let probe = Probe(write.clone());
        (Self { read, write }, probe)
    }

    fn poll_half<T>(
        &self,
        poll: impl FnOnce(Pin<&mut OwnedWriteHalf>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *lock(&self.write) {
            Some(half) => poll(Pin::new(half)),
            // Only the drop of this very value empties it.
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Probe {
    /// Whether there is nothing to read: no bytes, no end, no error. This asks the kernel, and so
    /// sees what the driver has not been told of yet.
    pub(crate) fn is_quiet(&self) -> bool {
        let half = lock(&self.0);
        let Some(half) = &*half else { return false };
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(half.as_ref()).peek(&mut byte);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn lock(half: &Mutex<Option<OwnedWriteHalf>>) -> MutexGuard<'_, Option<OwnedWriteHalf>> {
    half.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Wire {
    fn drop(&mut self) {
        lock(&self.write).take();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_half(|half| half.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_half(|half| half.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_half(|half| half.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_half(|half| half.poll_shutdown(cx))
    }
}

/// For [`UpstreamBuilder::allow_addresses`](crate::UpstreamBuilder::allow_addresses): true for
/// addresses of the public internet only.
///
/// False for loopback, private, link-local (where clouds keep their metadata), shared, multicast,
/// documentation, benchmarking and reserved ones, in IPv4, in IPv6, and in IPv6 that stands for
/// IPv4 (mapped, NAT64, 6to4).
///
/// ```
/// use tower_upstream::public_addresses;
///
/// assert!(public_addresses(&"1.1.1.1".parse()?));
/// assert!(!public_addresses(&"169.254.169.254".parse()?));
/// assert!(!public_addresses(&"::ffff:127.0.0.1".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn public_addresses(address: &IpAddr) -> bool {
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(a: Ipv4Addr) -> bool {
        let [b0, b1, b2, _] = a.octets();
        !(a.is_loopback()
            || a.is_private()
            || a.is_link_local()
            || a.is_multicast()
            || a.is_documentation()
            || b0 == 0
            // RFC 6598: shared; RFC 6890: protocol assignments; RFC 2544: benchmarks.
            || (b0 == 100 && b1 & 0xc0 == 64)
            || (b0 == 192 && b1 == 0 && b2 == 0)
            || (b0 == 198 && b1 & 0xfe == 18)
            || b0 >= 240)
    }

    fn v6(a: Ipv6Addr) -> bool {
        let [s0, s1, s2, ..] = a.segments();
        let [.., o12, o13, o14, o15] = a.octets();
        let embedded = match (s0, s1) {
            // RFC 6052: NAT64.
            (0x64, 0xff9b) => Some(Ipv4Addr::new(o12, o13, o14, o15)),
            // RFC 3056: 6to4.
            (0x2002, _) => {
                let ([b0, b1], [b2, b3]) = (s1.to_be_bytes(), s2.to_be_bytes());
                Some(Ipv4Addr::new(b0, b1, b2, b3))
            }
            _ => None,
        };
        match embedded {
            Some(a) => v4(a),
            // RFC 4291 §2.4: what is not global unicast is not on the internet. RFC 3849, 9637:
            // documentation; RFC 2928, 4380: protocol assignments and Teredo.
            None => {
                s0 & 0xe000 == 0x2000
                    && !(s0 == 0x2001 && (s1 == 0xdb8 || s1 < 0x200))
                    && s0 != 0x3fff
            }
        }
    }

    match address.to_canonical() {
        IpAddr::V4(a) => v4(a),
        IpAddr::V6(a) => v6(a),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpSocket;

    use super::*;

    /// A listener of which one more connection is let in, and no other.
    async fn black_hole() -> (tokio::net::TcpListener, TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let filler = TcpStream::connect(address).await.unwrap();
        (listener, filler)
    }

    #[tokio::test]
    async fn a_dead_address_costs_its_share_of_the_time_and_the_next_is_tried() {
        let (silent, _filler) = black_hole().await;
        let alive = TcpSocket::new_v4().unwrap();
        alive.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refused = alive.local_addr().unwrap();
        let addresses = [silent.local_addr().unwrap(), refused];
        let time = Duration::from_millis(400);
        let start = Instant::now();
        let nobody = in_turn(addresses.into_iter(), Some(start + time)).await;
        assert_eq!(nobody.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(
            start.elapsed() >= time / 2,
            "half of it for the one that is silent"
        );

        let _listener = alive.listen(1).unwrap();
        let found = in_turn(addresses.into_iter(), Some(Instant::now() + time)).await;
        assert_eq!(found.unwrap().peer_addr().unwrap(), refused);
        let found = in_turn(addresses.into_iter().rev(), None).await;
        assert_eq!(found.unwrap().peer_addr().unwrap(), refused);
    }

    #[test]
    fn addresses_that_are_not_on_the_public_internet_are_told_in_every_dress() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.170",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::1",
        ] {
            assert!(
                !public_addresses(&inside.parse().unwrap()),
                "{inside} is not public"
            );
        }
        for outside in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(
                public_addresses(&outside.parse().unwrap()),
                "{outside} is public"
            );
        }
    }
}
