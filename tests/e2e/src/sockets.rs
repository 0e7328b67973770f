//! Sockets that do what a library for servers would rather not.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// Connects from an address; port 0 is any port.
///
/// # Panics
/// When the address is not there, or nobody listens.
#[must_use]
pub fn connect_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// An address that answers no connection, and what keeps it so: a listener whose queue is full.
///
/// # Panics
/// When no port can be bound.
#[must_use]
pub fn silent() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        // Whether it is in progress or in the queue: it takes a place.
        let _ = filler.connect(&address);
        held.push(filler);
    }
    (address.as_socket().unwrap(), held)
}

/// Has a socket end by a reset when it is closed.
///
/// # Panics
/// When the socket takes no options.
pub fn reset(socket: &TcpStream) {
    SockRef::from(socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Sends until nothing more is taken for as long as the socket's timeout, at most `most` bytes. Says how many were.
#[must_use]
pub fn send_until_stuck(mut socket: &TcpStream, most: usize) -> usize {
    let piece = [7; 64 << 10];
    let mut sent = 0;
    while sent < most {
        match socket.write(&piece) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}
