//! Listening sockets. The control side owns them; workers get duplicates.
//!
//! A bound socket is not a listener: a listener changes by giving the same sockets to another chain, and sockets close only
//! when no listener has their address any more.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that the kernel keeps for a worker that does not come to accepting them.
const BACKLOG: i32 = 4096;

/// The sockets of one address: one for each worker, between which the kernel deals out connections.
#[derive(Debug)]
pub(crate) struct SocketSet {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl SocketSet {
    /// Binds `address` once for each worker.
    ///
    /// The first socket is bound without `SO_REUSEPORT`, which is set afterwards: so the kernel refuses an address
    /// that any other socket has, even one that shares.
    pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Self> {
        let first = new_socket(address)?;
        first.bind(&address.into())?;
        first.set_reuse_port(true)?;
        first.listen(BACKLOG)?;
        let first: TcpListener = first.into();
        // Port 0 was chosen by the kernel; the others must have the same.
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        while sockets.len() < workers {
            let next = new_socket(address)?;
            next.set_reuse_port(true)?;
            next.bind(&address.into())?;
            next.listen(BACKLOG)?;
            sockets.push(next.into());
        }
        Ok(Self { address, sockets })
    }

    /// The address that was bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A duplicate of the socket of a worker.
    pub(crate) fn of_worker(&self, index: usize) -> io::Result<TcpListener> {
        self.sockets
            .get(index)
            .ok_or_else(|| io::Error::other("there is no socket for this worker"))?
            .try_clone()
    }
}

/// Where a client wanted to go whose connection the kernel redirected to this socket (netfilter's `REDIRECT` and `DNAT`).
/// `None` without a record of such a redirect.
pub(crate) fn original_destination(socket: &tokio::net::TcpStream) -> Option<SocketAddr> {
    let own = socket.local_addr().ok()?;
    let socket = SockRef::from(socket);
    // An IPv4 connection on an IPv6 socket is kept under IPv4.
    let original = match own.ip().to_canonical() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    original.ok()?.as_socket()
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

    #[test]
    fn every_worker_has_its_socket_on_the_same_port() {
        let set = SocketSet::bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_ne!(set.address().port(), 0);
        for worker in 0..3 {
            assert_eq!(
                set.of_worker(worker).unwrap().local_addr().unwrap(),
                set.address()
            );
        }
        assert!(set.of_worker(3).is_err());
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_its_owner_shares() {
        let first = SocketSet::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = SocketSet::bind(first.address(), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
