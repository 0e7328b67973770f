//! Reads and writes of TCP sockets: what the event loop knows of a socket is asked once per call.
//!
//! The calls themselves are made without the C library, in which each of them is a point where a thread may be cancelled:
//! what it does about that, and the wrappers themselves, were 240 instructions in each request, which has four calls.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop;

/// Reads into what `room` gives, which is asked only when there seems to be something to read; 0 is the end of the stream.
pub(crate) fn poll_read<'r>(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    room: impl FnOnce() -> &'r mut [u8],
) -> Poll<io::Result<usize>> {
    if is_silent(tcp) {
        ready!(tcp.poll_read_ready(cx))?;
    } else {
        // It uses up the task's budget as the event loop's own reads do, without its look at who waits.
        ready!(coop::poll_proceed(cx)).made_progress();
    }
    let room = room();
    loop {
        if let Some(count) = try_read(tcp, room)? {
            return Poll::Ready(Ok(count));
        }
        ready!(tcp.poll_read_ready(cx))?;
    }
}

/// Writes as much of `bytes` as the socket takes at once.
pub(crate) fn poll_write(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        if let Some(count) = try_write(tcp, bytes)? {
            return Poll::Ready(Ok(count));
        }
        ready!(tcp.poll_write_ready(cx))?;
    }
}

/// Whether there are bytes to read, or the stream's end, or an error. Where the event loop has heard of nothing there is no
/// system call, and nobody is registered to be woken.
pub(crate) fn has_unread(tcp: &TcpStream) -> bool {
    let peeked = tcp.try_io(Interest::READABLE, || {
        Ok(recv(tcp, &mut [0_u8; 1], RecvFlags::PEEK)?)
    });
    !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Whether the event loop has heard of nothing to read since a read last found nothing. Costs neither a system call nor
/// a lock.
#[inline]
pub(crate) fn is_silent(tcp: &TcpStream) -> bool {
    // What is tried is nothing, so it fails only for want of readiness.
    tcp.try_io(Interest::READABLE, || Ok(())).is_err()
}

fn try_read(tcp: &TcpStream, room: &mut [u8]) -> io::Result<Option<usize>> {
    let most = room.len();
    let mut count = None;
    let looked = tcp.try_io(Interest::READABLE, || {
        let (read, _) = recv(tcp, &mut *room, RecvFlags::empty())?;
        count = Some(read);
        told(read, most)
    });
    outcome(looked, count)
}

fn try_write(tcp: &TcpStream, bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut count = None;
    let looked = tcp.try_io(Interest::WRITABLE, || {
        let written = send(tcp, bytes, SendFlags::NOSIGNAL)?;
        count = Some(written);
        told(written, bytes.len())
    });
    outcome(looked, count)
}

/// What the event loop is told of a call that moved `count` bytes where `most` would have fitted. Fewer mean that the
/// socket has no more, or takes no more, for now (epoll(7), on edge-triggered events): told so, the event loop waits for
/// the kernel's word, which saves the call that would find out.
fn told(count: usize, most: usize) -> io::Result<()> {
    if 0 < count && count < most {
        Err(io::ErrorKind::WouldBlock.into())
    } else {
        Ok(())
    }
}

fn outcome(looked: io::Result<()>, count: Option<usize>) -> io::Result<Option<usize>> {
    match looked {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    async fn read(tcp: &TcpStream, room: &mut [u8]) -> usize {
        poll_fn(|cx| poll_read(tcp, cx, || &mut *room))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn reads_what_is_there_and_then_the_end() {
        let (mut client, server) = pair().await;
        let mut room = [0; 8];
        for text in [&b"abc"[..], b"12345678", b"x"] {
            client.write_all(text).await.unwrap();
            assert_eq!(read(&server, &mut room).await, text.len());
            assert_eq!(&room[..text.len()], text);
        }
        // Bytes and the end may come as one event: the end is still told.
        client.write_all(b"last").await.unwrap();
        drop(client);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(read(&server, &mut room).await, 4);
        assert_eq!(read(&server, &mut room).await, 0);
    }

    #[tokio::test]
    async fn room_is_not_asked_for_while_nothing_is_there() {
        let (mut client, server) = pair().await;
        // The event loop takes a new socket for ready, so the first look is one at the socket.
        assert!(!has_unread(&server));
        let mut asked = false;
        let idle = poll_fn(|cx| {
            let read = poll_read(&server, cx, || {
                asked = true;
                Default::default()
            });
            Poll::Ready(read.is_pending())
        });
        assert!(idle.await);
        assert!(!asked);
        assert!(is_silent(&server));
        client.write_all(b"a").await.unwrap();
        server.readable().await.unwrap();
        assert!(!is_silent(&server));
        assert!(has_unread(&server));
        // It was only looked at.
        assert_eq!(read(&server, &mut [0; 8]).await, 1);
        assert!(!has_unread(&server));
        drop(client);
        server.readable().await.unwrap();
        assert!(has_unread(&server));
    }

    #[tokio::test]
    async fn writes_go_on_when_the_peer_reads() {
        let (mut client, server) = pair().await;
        let data = vec![7; 8 << 20];
        let writing = async {
            let mut left = &data[..];
            while !left.is_empty() {
                let count = poll_fn(|cx| poll_write(&server, cx, left)).await.unwrap();
                left = &left[count..];
            }
            drop(server);
        };
        let mut read = Vec::new();
        let reading = client.read_to_end(&mut read);
        let ((), count) = tokio::join!(writing, reading);
        assert_eq!(count.unwrap(), data.len());
        assert!(read == data);
    }
}
