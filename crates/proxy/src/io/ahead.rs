//! Reads by the tens of kilobytes for who asks for a few.
//!
//! rustls reads 4 KiB at a time, so that a record of TLS at its longest (16 KiB) takes five system calls. Beneath it stands
//! this: one read takes all that is there, and the rest is memory. Between reads there is no buffer.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::Io;

/// A stream that is read ahead.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    pub(super) io: Io,
    /// Empty when nothing is held.
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

/// Four records, and what a socket usually has at most.
const SIZE: usize = 64 << 10;
/// Buffers that a thread keeps for the next read. Only connections that were read and not yet decrypted hold one, which
/// within a turn are few.
const SPARE: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl ReadAhead {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            memory: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest().is_empty() {
            let mut memory = BUFFERS
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; SIZE]);
            match self.io.poll_read(cx, &mut memory) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.memory = memory;
                    self.start = 0;
                    self.end = count;
                }
                other => {
                    give(memory);
                    ready!(other)?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let rest = self.rest();
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        self.start += count;
        if self.rest().is_empty() {
            give(std::mem::take(&mut self.memory));
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.rest().is_empty() {
            return self.io.poll_readable(cx);
        }
        Poll::Ready(Ok(()))
    }
}

fn give(memory: Vec<u8>) {
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() < SPARE {
            buffers.push(memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order_and_then_nothing_is_held() {
        let (mut far, near) = UnixStream::pair().unwrap();
        let mut near = Io::read_ahead(Io::Unix(near));
        let sent: Vec<u8> = (0..300_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        let expected = sent.clone();
        let sender = tokio::spawn(async move { far.write_all(&sent).await });
        let mut got = Vec::new();
        let mut some = [0; 4096];
        loop {
            match near.read(&mut some).await.unwrap() {
                0 => break,
                count => got.extend_from_slice(&some[..count]),
            }
        }
        sender.await.unwrap().unwrap();
        assert_eq!(got, expected);
        let Io::Ahead(ahead) = &near else {
            unreachable!()
        };
        assert_eq!(ahead.memory.capacity(), 0);
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_readable() {
        let (mut far, near) = UnixStream::pair().unwrap();
        let mut near = Io::read_ahead(Io::Unix(near));
        far.write_all(b"abc").await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'a');
        // The socket is empty, and the reader is not done.
        poll_fn(|cx| near.poll_readable(cx)).await.unwrap();
        assert_eq!(near.read_u16().await.unwrap(), u16::from_be_bytes(*b"bc"));
        drop(far);
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
