//! Sockets for datagrams. The control side owns them; workers get duplicates.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// The sockets of one address: one for each worker, among which the kernel deals out clients by their addresses.
#[derive(Debug)]
pub(crate) struct UdpSocketSet {
    address: SocketAddr,
    sockets: Vec<UdpSocket>,
}

impl UdpSocketSet {
    /// Binds `address` once for each worker. As with connections the first socket is bound without `SO_REUSEPORT`, which
    /// is set afterwards: so the kernel refuses an address that any other socket has.
    pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Self> {
        let first = new_socket(address)?;
        first.bind(&address.into())?;
        first.set_reuse_port(true)?;
        let first: UdpSocket = first.into();
        // Port 0 was chosen by the kernel; the others must have the same.
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        while sockets.len() < workers {
            let next = new_socket(address)?;
            next.set_reuse_port(true)?;
            next.bind(&address.into())?;
            sockets.push(next.into());
        }
        Ok(Self { address, sockets })
    }

    /// The address that was bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A duplicate of the socket of a worker.
    pub(crate) fn of_worker(&self, index: usize) -> io::Result<UdpSocket> {
        self.sockets
            .get(index)
            .ok_or_else(|| io::Error::other("there is no socket for this worker"))?
            .try_clone()
    }
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // `[::]` means IPv6; who wants both families writes two listeners.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_its_socket_and_a_stranger_is_refused() {
        let set = UdpSocketSet::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        for worker in 0..2 {
            let socket = set.of_worker(worker).unwrap();
            assert_eq!(socket.local_addr().unwrap(), set.address());
        }
        assert!(set.of_worker(2).is_err());
        let error = UdpSocketSet::bind(set.address(), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
