//! Datagrams, several in one system call.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6,
    SockaddrStorage, recvmmsg, sendmsg, setsockopt,
};
use socket2::SockRef;
use tokio::net::UdpSocket;

/// So many datagrams are taken in one call: enough that the call's own cost is spread, few enough for a turn.
pub(super) const BATCH: usize = 16;
/// The longest datagram that there is (RFC 768, with the length of its header).
const LONGEST: usize = 65_507;

/// What datagrams are read into: one for all sockets of a worker. Memory is touched only as far as datagrams are long.
pub(crate) struct Batch {
    memory: Vec<u8>,
    came: Vec<Came>,
}

/// A datagram in a [`Batch`].
#[derive(Clone, Debug)]
pub(crate) struct Came {
    range: Range<usize>,
    pub(crate) from: SocketAddr,
    /// Where it was sent to, on a socket that is bound to all addresses.
    pub(crate) to: Option<IpAddr>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; BATCH * LONGEST],
            came: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits at a socket, up to [`BATCH`] datagrams. Says how many.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.came.clear();
        let mut slices: [_; BATCH] = std::array::from_fn(|_| [IoSliceMut::new(&mut [])]);
        for (slice, room) in slices.iter_mut().zip(self.memory.chunks_mut(LONGEST)) {
            *slice = [IoSliceMut::new(room)];
        }
        // Made anew: the kernel writes into them how long addresses and control messages were, and would take that for all
        // the room there is the next time, on whatever socket.
        let room = cmsg_space!(in_pktinfo, in6_pktinfo);
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, Some(room));
        let messages = recvmmsg(
            socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        for (index, message) in messages.enumerate() {
            // One without an address came on a connected socket, where it is known.
            let from = message.address.and_then(|address| of_kernel(&address));
            let start = index * LONGEST;
            self.came.push(Came {
                range: start..start + message.bytes,
                from: from.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)),
                to: destination(&message),
            });
        }
        Ok(self.came.len())
    }

    /// The datagrams that were taken.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&Came, &[u8])> {
        self.came.iter().map(|came| {
            let bytes = self.memory.get(came.range.clone());
            (came, bytes.unwrap_or_default())
        })
    }
}

/// Has a socket that is bound to all addresses tell where each datagram was sent to.
pub(crate) fn tell_destinations(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
    }
    Ok(())
}

/// Sends a datagram, from a certain address of this machine when one is given. Never waits.
pub(crate) fn send(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<()> {
    let slices = [io::IoSlice::new(bytes)];
    let descriptor = socket.as_raw_fd();
    match (from, to) {
        (Some(IpAddr::V4(from)), SocketAddr::V4(to)) => {
            let info = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr {
                    s_addr: u32::from_ne_bytes(from.octets()),
                },
                ipi_addr: in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            let to = SockaddrIn::from(to);
            sendmsg(
                descriptor,
                &slices,
                &control,
                MsgFlags::MSG_DONTWAIT,
                Some(&to),
            )?;
        }
        (Some(IpAddr::V6(from)), SocketAddr::V6(to)) => {
            let info = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: 0,
            };
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            let to = SockaddrIn6::from(to);
            sendmsg(
                descriptor,
                &slices,
                &control,
                MsgFlags::MSG_DONTWAIT,
                Some(&to),
            )?;
        }
        _ => {
            SockRef::from(socket).send_to(bytes, &to.into())?;
        }
    }
    Ok(())
}

fn of_kernel(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    address
        .as_sockaddr_in6()
        .map(|v6| SocketAddrV6::from(*v6).into())
}

fn destination(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<IpAddr> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let octets = info.ipi_addr.s_addr.to_ne_bytes();
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)))
        }
        _ => None,
    })
}
