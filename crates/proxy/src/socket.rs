//! Listening sockets. The control side owns them; workers get duplicates.
//!
//! A bound socket is not a listener: a listener changes by giving the same sockets to another chain, and sockets close only
//! when no listener has their address any more.

mod unix;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use transom_config::Listener;

use self::unix::UnixSocket;

/// Connections that the kernel keeps for a worker that does not come to accepting them.
const BACKLOG: i32 = 4096;

/// What is listened on at one address: for TCP a socket for each worker, between which the kernel deals out connections; for a
/// Unix socket the only one, on which the control side accepts.
#[derive(Debug)]
pub(crate) enum SocketSet {
    Tcp(TcpSockets),
    Unix(UnixSocket),
}

/// The sockets of a TCP address, one for each worker.
#[derive(Debug)]
pub(crate) struct TcpSockets {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl SocketSet {
    /// Binds `address` once for each worker. With `transparent` connections to any address are taken that the kernel brings there.
    ///
    /// The first socket is bound without `SO_REUSEPORT`, which is set afterwards: so the kernel refuses an address
    /// that any other socket has, even one that shares.
    pub(crate) fn bind(address: SocketAddr, workers: usize, transparent: bool) -> io::Result<Self> {
        let first = new_socket(address)?;
        if transparent {
            set_transparent(&first, address, true)?;
        }
        first.bind(&address.into())?;
        first.set_reuse_port(true)?;
        first.listen(BACKLOG)?;
        let first: TcpListener = first.into();
        // Port 0 was chosen by the kernel; the others must have the same.
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        while sockets.len() < workers {
            let next = new_socket(address)?;
            if transparent {
                set_transparent(&next, address, true)?;
            }
            next.set_reuse_port(true)?;
            next.bind(&address.into())?;
            next.listen(BACKLOG)?;
            sockets.push(next.into());
        }
        Ok(Self::Tcp(TcpSockets { address, sockets }))
    }

    /// Binds a Unix socket; see [`UnixSocket::bind`].
    pub(crate) fn bind_unix(path: &Path, options: &transom_config::UnixSocket) -> io::Result<Self> {
        UnixSocket::bind(path, options).map(Self::Unix)
    }

    /// The address that was bound; `None` for a Unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => Some(tcp.address),
            Self::Unix(_) => None,
        }
    }

    /// A duplicate of the socket of a worker; `None` for a Unix socket, on which workers do not accept.
    pub(crate) fn of_worker(&self, index: usize) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Tcp(tcp) => {
                let socket = tcp.sockets.get(index);
                let socket =
                    socket.ok_or_else(|| io::Error::other("there is no socket for this worker"))?;
                Ok(Some(socket.try_clone()?.into()))
            }
            Self::Unix(_) => Ok(None),
        }
    }

    /// A duplicate of the Unix socket, if it is one.
    pub(crate) fn unix(&self) -> Option<io::Result<OwnedFd>> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(unix) => Some(unix.listener.try_clone().map(OwnedFd::from)),
        }
    }

    /// Has sockets that are bound already take up what a listener says of them.
    pub(crate) fn set_options(&self, listener: &Listener) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.sockets.iter().try_for_each(|socket| {
                set_transparent(&SockRef::from(socket), tcp.address, listener.transparent)
            }),
            Self::Unix(unix) => unix.set_options(&listener.unix_socket),
        }
    }

    /// Has nobody new find a Unix socket.
    pub(crate) fn hide(&self) {
        if let Self::Unix(unix) = self {
            unix.remove_file();
        }
    }
}

/// Only where it is another already: to set it needs a capability, to leave it does not.
fn set_transparent(socket: &Socket, address: SocketAddr, to: bool) -> io::Result<()> {
    if address.is_ipv4() {
        if socket.ip_transparent_v4()? != to {
            socket.set_ip_transparent_v4(to)?;
        }
        return Ok(());
    }
    if socket.ip_transparent_v6()? != to {
        socket.set_ip_transparent_v6(to)?;
    }
    Ok(())
}

/// Where a client wanted to go whose connection the kernel redirected to this socket (netfilter's `REDIRECT` and `DNAT`).
/// `None` when it did not.
pub(crate) fn original_destination(socket: &tokio::net::TcpStream) -> Option<SocketAddr> {
    let own = socket.local_addr().ok()?;
    let socket = SockRef::from(socket);
    // An IPv4 connection on an IPv6 socket is kept under IPv4.
    let original = match own.ip().to_canonical() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    let original = original.ok()?.as_socket()?;
    // There is a record of any connection that netfilter tracks.
    (original != SocketAddr::new(own.ip().to_canonical(), own.port())).then_some(original)
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of a process before this one may still linger on the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // `[::]` means IPv6; who wants both families writes two listeners.
        SockRef::from(&socket).set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(address: &str, workers: usize) -> io::Result<SocketSet> {
        SocketSet::bind(address.parse().unwrap(), workers, false)
    }

    #[test]
    fn every_worker_has_its_socket_on_the_same_port() {
        let set = bind("127.0.0.1:0", 3).unwrap();
        assert_ne!(set.address().unwrap().port(), 0);
        let mut sockets = Vec::new();
        for worker in 0..3 {
            let socket = TcpListener::from(set.of_worker(worker).unwrap().unwrap());
            assert_eq!(Some(socket.local_addr().unwrap()), set.address());
            sockets.push(rustix::fs::fstat(&socket).unwrap().st_ino);
        }
        // Three sockets, not three names of one.
        sockets.dedup();
        assert_eq!(sockets.len(), 3);
        assert!(set.of_worker(3).is_err());
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_its_owner_shares() {
        let first = bind("127.0.0.1:0", 2).unwrap();
        let taken = first.address().unwrap().to_string();
        let error = bind(&taken, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
