//! `tcp_proxy`: joins a client's connection with one to a host of a cluster, byte for byte.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use transom_api::Counter;

use crate::cluster::{Active, ClusterId, Slot, connect};
use crate::http::connection::Timer;
use crate::http::limit;
use crate::io::{BufferPool, Io, ReadBuffer};
use crate::listener::ConnectionSlot;
use crate::worker::Worker;

/// Reads of a relay may grow to this: fewer system calls per byte.
const LARGEST_READ: usize = 64 << 10;

/// The `tcp_proxy` of a listener.
#[derive(Clone, Debug)]
pub(crate) struct TcpProxyListener {
    pub(crate) cluster: ClusterId,
    pub(crate) idle_timeout: Duration,
    pub(crate) connect_attempts: u32,
    /// Connections that ended without a host.
    pub(crate) unavailable: Counter,
}

/// Serves a connection until both directions have ended, or it idles too long.
pub(crate) async fn serve(
    mut client: Io,
    worker: Rc<Worker>,
    listener: Rc<TcpProxyListener>,
    slot: ConnectionSlot,
) {
    let mut from_client = ReadBuffer::default();
    let Some((mut host, _place)) = connect_host(&worker, &listener).await else {
        worker.shard.add(listener.unavailable.0, 1);
        return;
    };
    let mut from_host = ReadBuffer::default();
    let mut up = Relay::default();
    let mut down = Relay::default();
    let mut timer = Timer::default();
    let mut active = worker.now();
    let relayed = std::future::poll_fn(|cx| {
        slot.watch(cx.waker());
        let moved_up = up.poll(
            cx,
            &mut client,
            &mut from_client,
            &mut host,
            &worker.buffers,
        );
        let moved_down = down.poll(cx, &mut host, &mut from_host, &mut client, &worker.buffers);
        if std::mem::take(&mut up.moved) | std::mem::take(&mut down.moved) {
            active = worker.now();
        }
        match (moved_up, moved_down) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                return Poll::Ready(Err(error));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            _ => {}
        }
        loop {
            let deadline = limit(listener.idle_timeout).and_then(|idle| active.checked_add(idle));
            let Some(deadline) = deadline else {
                return Poll::Pending;
            };
            let now = ready!(timer.poll(cx, deadline));
            if is_over(now, active, listener.idle_timeout) {
                return Poll::Ready(Ok(()));
            }
        }
    });
    if let Err(error) = relayed.await {
        // A peer that goes away is the usual end of a connection.
        tracing::trace!(%error, "a relayed connection broke off");
    }
}

fn is_over(now: Instant, active: Instant, idle: Duration) -> bool {
    now.saturating_duration_since(active) >= idle
}

/// Connects a host; one that cannot be connected is passed over, `connect_attempts` times at the most.
async fn connect_host(
    worker: &Rc<Worker>,
    listener: &TcpProxyListener,
) -> Option<(Io, (Active, Slot))> {
    let cluster = worker.cluster(listener.cluster)?;
    let mut tried = Vec::new();
    for _ in 0..listener.connect_attempts.max(1) {
        let host = cluster.pick(&tried)?;
        let active = Active::relay(&host);
        match connect(&host, worker).await {
            Ok((connected, slot)) => return Some((connected.io, (active, slot))),
            Err(error) => tracing::debug!(
                host = host.host.text,
                %error,
                "a host could not be connected"
            ),
        }
        tried.push(host);
    }
    None
}

/// One direction of a relay.
#[derive(Default)]
struct Relay {
    ended: bool,
    shut: bool,
    moved: bool,
}

impl Relay {
    /// Moves bytes until nothing can be moved. Ready when this direction has ended and the other side was told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        buffer: &mut ReadBuffer,
        to: &mut Io,
        pool: &BufferPool,
    ) -> Poll<io::Result<()>> {
        let mut full = false;
        loop {
            while !buffer.is_empty() {
                let count = ready!(to.poll_write(cx, buffer.bytes()))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                buffer.consume(count);
                self.moved = true;
            }
            ready!(to.poll_flush(cx))?;
            if std::mem::take(&mut full) {
                buffer.grow(LARGEST_READ);
            }
            if self.ended {
                if !self.shut {
                    // Half-close: the other direction may go on (RFC 9293 section 3.6).
                    match ready!(to.poll_shutdown(cx)) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            match buffer.poll_fill(cx, from, pool, LARGEST_READ) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => full = buffer.is_full(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // A quiet connection holds no buffer.
                    buffer.release(pool);
                    return Poll::Pending;
                }
            }
        }
    }
}
