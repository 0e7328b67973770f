//! The plugin's standard output and standard error, streamed to the host (`/plugin.GRPCStdio/StreamStdio`).
//!
//! Go replaces two variables; a Rust program writes to descriptors 1 and 2, so those are replaced, after the handshake line has left.
//! The true standard error is kept for logs and panics, which the host reads line by line.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::proto::grpc_stdio_server::GrpcStdio;
use crate::proto::{StdioData, stdio_data::Channel};
use crate::task::Task;

/// What is kept while no host reads. Beyond it the oldest goes: a plugin must never block on its own output, as Go's do.
const KEPT: usize = 256 * 1024;

/// What may wait while a host does read; then writers wait for the host, so that nothing is lost.
const AHEAD: usize = 256 * 1024;

/// How long the last output may take to be read from its pipe.
const LAST_OUTPUT: Duration = Duration::from_millis(300);

/// Largest piece of output in one message.
const PIECE: usize = 16 * 1024;

/// The true standard error, once output was captured.
static STDERR: OnceLock<OwnedFd> = OnceLock::new();

/// Writes to the standard error that the host reads as the log, past any capture. Errors have nowhere to go.
pub(crate) fn write_log(bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = match STDERR.get() {
            Some(stderr) => rustix::io::write(stderr, rest),
            None => rustix::io::write(rustix::stdio::stderr(), rest),
        };
        match written {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Output on its way to the host.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    pieces: VecDeque<StdioData>,
    bytes: usize,
    /// Number of the stream that may take pieces; 0 before the first. An older one ends.
    reader: u64,
    reading: bool,
    closed: bool,
    reader_waker: Option<Waker>,
    writer_wakers: Vec<Waker>,
}

impl Output {
    /// Queues a piece; waits for a slow host, and not for an absent one.
    pub(crate) async fn push(&self, channel: Channel, data: Bytes) {
        let mut piece = Some(StdioData {
            channel: channel.into(),
            data: data.to_vec(),
        });
        std::future::poll_fn(|cx| {
            let mut queue = self.lock();
            if queue.reading && !queue.closed && queue.bytes >= AHEAD {
                queue.writer_wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            if let Some(piece) = piece.take() {
                queue.push(piece);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Lets the stream end when what is queued has left.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.wake();
    }

    fn read(&self) -> OutputStream {
        let mut queue = self.lock();
        queue.reader += 1;
        queue.reading = true;
        queue.wake();
        OutputStream {
            output: self.clone(),
            number: queue.reader,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, piece: StdioData) {
        self.bytes += piece.data.len();
        self.pieces.push_back(piece);
        if !self.reading {
            while self.bytes > KEPT {
                let Some(oldest) = self.pieces.pop_front() else {
                    break;
                };
                self.bytes -= oldest.data.len();
            }
        }
        if let Some(waker) = self.reader_waker.take() {
            waker.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.reader_waker.take() {
            waker.wake();
        }
        for waker in self.writer_wakers.drain(..) {
            waker.wake();
        }
    }
}

/// One host's view of the output.
pub(crate) struct OutputStream {
    output: Output,
    number: u64,
}

impl Stream for OutputStream {
    type Item = Result<StdioData, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = self.output.lock();
        if queue.reader != self.number {
            return Poll::Ready(None);
        }
        if let Some(piece) = queue.pieces.pop_front() {
            queue.bytes -= piece.data.len();
            for waker in queue.writer_wakers.drain(..) {
                waker.wake();
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        if queue.closed {
            return Poll::Ready(None);
        }
        queue.reader_waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for OutputStream {
    fn drop(&mut self) {
        let mut queue = self.output.lock();
        if queue.reader == self.number {
            queue.reading = false;
            queue.wake();
        }
    }
}

/// The service; the newest call gets the output.
pub(crate) struct StdioService(pub(crate) Output);

#[tonic::async_trait]
impl GrpcStdio for StdioService {
    type StreamStdioStream = OutputStream;

    async fn stream_stdio(&self, _: Request<()>) -> Result<Response<OutputStream>, Status> {
        Ok(Response::new(self.0.read()))
    }
}

/// Descriptors 1 and 2 in our hands.
pub(crate) struct Capture {
    stdout: OwnedFd,
    stderr: OwnedFd,
    readers: [Task; 2],
}

impl Capture {
    /// Replaces descriptors 1 and 2 by pipes into `output`.
    pub(crate) fn begin(output: &Output) -> io::Result<Self> {
        let stdout = fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        let stderr = fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
        // A second capture in one process keeps the first one's answer: it is the same file.
        let _ = STDERR.set(fcntl_dupfd_cloexec(stderr.as_fd(), 3)?);
        let (out_read, out_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err_read, err_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let readers = [
            reader(out_read, Channel::Stdout, output.clone())?,
            reader(err_read, Channel::Stderr, output.clone())?,
        ];
        rustix::stdio::dup2_stdout(&out_write)?;
        rustix::stdio::dup2_stderr(&err_write)?;
        Ok(Self {
            stdout,
            stderr,
            readers,
        })
    }

    /// Puts the true descriptors back and waits until what was written before is queued, unless something else that this process
    /// started still writes there.
    pub(crate) async fn end(mut self) {
        let _ = io::Write::flush(&mut io::stdout());
        let _ = rustix::stdio::dup2_stdout(&self.stdout);
        let _ = rustix::stdio::dup2_stderr(&self.stderr);
        let _ = tokio::time::timeout(LAST_OUTPUT, async {
            for reader in &mut self.readers {
                reader.join().await;
            }
        })
        .await;
    }
}

fn reader(read: OwnedFd, channel: Channel, output: Output) -> io::Result<Task> {
    let mut read = pipe::Receiver::from_owned_fd(read)?;
    Ok(Task::spawn(async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(count) = read.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            let piece = buffer.get(..count).unwrap_or_default();
            output.push(channel, Bytes::copy_from_slice(piece)).await;
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    #[tokio::test]
    async fn without_a_reader_the_newest_output_is_kept_and_nobody_waits() {
        let output = Output::default();
        for number in 0..1000_u32 {
            let data = Bytes::from(vec![u8::try_from(number % 251).unwrap(); 1024]);
            output.push(Channel::Stdout, data).await;
        }
        let mut stream = output.read();
        output.close();
        let mut bytes = 0;
        let mut last = 0;
        while let Some(Ok(piece)) = stream.next().await {
            bytes += piece.data.len();
            last = piece.data[0];
        }
        assert_eq!(bytes, KEPT);
        assert_eq!(u32::from(last), 999 % 251);
    }

    #[tokio::test]
    async fn a_second_reader_takes_over_from_the_first() {
        let output = Output::default();
        let mut first = output.read();
        let mut second = output.read();
        output.push(Channel::Stderr, Bytes::from_static(b"x")).await;
        assert!(first.next().await.is_none());
        assert_eq!(second.next().await.unwrap().unwrap().data, b"x");
    }

    #[tokio::test]
    async fn a_slow_reader_makes_writers_wait_and_loses_nothing() {
        let output = Output::default();
        let mut stream = output.read();
        let writer = {
            let output = output.clone();
            tokio::spawn(async move {
                for _ in 0..1024 {
                    output
                        .push(Channel::Stdout, Bytes::from_static(&[7; 1024]))
                        .await;
                }
                output.close();
            })
        };
        tokio::task::yield_now().await;
        assert!(output.lock().bytes <= AHEAD);
        let mut bytes = 0;
        while let Some(Ok(piece)) = stream.next().await {
            bytes += piece.data.len();
        }
        writer.await.unwrap();
        assert_eq!(bytes, 1024 * 1024);
    }
}
