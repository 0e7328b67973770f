//! A session: what one client sends to one host, and what comes back.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{Client, DRAIN_IDLE, Dropped, TURN, UdpListener, UdpProxyListener, UdpProxyOptions};
use crate::cluster::{Active, Slot, WorkerHost};
use crate::error::Flags;
use crate::listener::limits::Admission;
use crate::network::datagram::{self, BATCH};
use crate::network::record::SessionRecord;
use crate::stream::info::ConnectionInfo;
use crate::timer::Timer;
use crate::worker::Worker;

/// One client's way to one host.
pub(super) struct Session {
    client: Client,
    socket: UdpSocket,
    /// The host was chosen although it was not healthy, because too few were: it stays when it is not.
    was_ill: bool,
    host: Rc<WorkerHost>,
    proxy: Rc<UdpProxyListener>,
    /// Answers that are still awaited, where their number is known.
    awaited: Cell<u64>,
    active: Cell<Instant>,
    received: Cell<u64>,
    sent: Cell<u64>,
    flags: Cell<Flags>,
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Only where a log wants it.
    record: RefCell<Option<Box<SessionRecord>>>,
    /// While it is open.
    place: Cell<Option<Place>>,
}

/// The place of a session among those of the listener and the process, and of its cluster and host.
pub(super) struct Place {
    pub(super) _admission: Admission,
    pub(super) _active: Active,
    pub(super) _slot: Slot,
}

/// What became of a datagram.
pub(super) enum Forwarded {
    Yes,
    Dropped,
    /// The host is not there.
    Gone,
}

impl Session {
    pub(super) fn new(
        worker: &Rc<Worker>,
        listener: &UdpListener,
        proxy: &Rc<UdpProxyListener>,
        client: Client,
        destination: SocketAddr,
        (host, address): (Rc<WorkerHost>, SocketAddr),
        place: Place,
    ) -> io::Result<Self> {
        let socket = connected(address)?;
        let record = (!proxy.access_logs.is_empty()).then(|| {
            let mut record = SessionRecord::new(
                worker,
                Rc::new(ConnectionInfo {
                    source: Some(client.from),
                    destination: Some(destination),
                    ..ConnectionInfo::new(worker.connection_id(), Rc::clone(&listener.name))
                }),
            );
            record.info.upstream = Some(Rc::clone(&host));
            Box::new(record)
        });
        Ok(Self {
            client,
            socket,
            was_ill: !host.host.is_healthy(),
            host,
            proxy: Rc::clone(proxy),
            awaited: Cell::new(0),
            active: Cell::new(worker.now()),
            received: Cell::new(0),
            sent: Cell::new(0),
            flags: Cell::default(),
            ended: Cell::new(false),
            waker: RefCell::default(),
            record: RefCell::new(record),
            place: Cell::new(Some(place)),
        })
    }

    pub(super) fn tell_cluster(&self, cluster: &Rc<str>) {
        if let Some(record) = &mut *self.record.borrow_mut() {
            record.info.cluster = Some(Rc::clone(cluster));
        }
    }

    /// Gives its place to another session.
    pub(super) fn leave(&self) {
        drop(self.place.take());
    }

    pub(super) fn client(&self) -> Client {
        self.client
    }

    pub(super) fn options(&self) -> &UdpProxyOptions {
        &self.proxy.options
    }

    /// Whether the next datagram may go this way.
    pub(super) fn is_usable(&self) -> bool {
        !self.ended.get() && (self.was_ill || self.host.host.is_healthy())
    }

    /// Sends a datagram to the host.
    pub(super) fn forward(&self, worker: &Worker, bytes: &[u8]) -> Forwarded {
        self.active.set(worker.now());
        // By the socket itself: the event loop does not know yet that a new one takes something.
        match SockRef::from(&self.socket).send(bytes) {
            Ok(_) => {
                self.received.set(self.received.get() + bytes.len() as u64);
                let replies = u64::from(self.options().replies.unwrap_or_default());
                self.awaited.set(self.awaited.get().saturating_add(replies));
                Forwarded::Yes
            }
            // What the kernel has learned by ICMP of a datagram before (udp(7)).
            Err(error) if is_unreachable(&error) => {
                self.flags.set(Flags::UPSTREAM_CONNECTION_FAILURE);
                Forwarded::Gone
            }
            Err(error) => {
                tracing::trace!(%error, host = self.host.host.text, "a datagram was not taken");
                Forwarded::Dropped
            }
        }
    }

    /// Has its task look around.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Its task ends, and it with it.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    /// Writes the access logs, once.
    pub(super) fn record(&self) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.info.request_bytes = self.received.get();
        record.info.response_bytes = self.sent.get();
        record.info.flags.add(self.flags.get());
        record.write(&self.proxy.access_logs);
    }

    fn poll(&self, cx: &mut Context<'_>, timer: &mut Timer, of: &Of<'_>) -> Poll<()> {
        loop {
            if self.ended.get() {
                return Poll::Ready(());
            }
            match self.socket.poll_recv_ready(cx) {
                Poll::Ready(Ok(())) => {
                    if self.take_replies(of) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            self.waker.replace(Some(cx.waker().clone()));
            let idle = self.idle_timeout(of.listener);
            let Some(deadline) = self.active.get().checked_add(idle) else {
                return Poll::Pending;
            };
            let now = ready!(timer.poll(cx, deadline));
            if now.saturating_duration_since(self.active.get()) >= idle {
                of.worker
                    .shard
                    .add(self.options().metrics.idle_timeouts.0, 1);
                return Poll::Ready(());
            }
        }
    }

    fn idle_timeout(&self, listener: &UdpListener) -> Duration {
        let idle = self.options().idle_timeout;
        if listener.draining.get() {
            idle.min(DRAIN_IDLE)
        } else {
            idle
        }
    }

    /// Sends what the host answers to the client. True when there may be more.
    fn take_replies(&self, of: &Of<'_>) -> bool {
        let metrics = self.options().metrics;
        for _ in 0..TURN {
            let mut batch = of.worker.take_batch();
            let taken = self
                .socket
                .try_io(Interest::READABLE, || batch.receive(&self.socket));
            for (_, bytes) in batch.datagrams() {
                self.active.set(of.worker.now());
                of.worker.shard.add(metrics.sent.0, 1);
                of.worker
                    .shard
                    .add(metrics.sent_bytes.0, bytes.len() as i64);
                let Client { from, to } = self.client;
                match datagram::send(&of.listener.socket, bytes, from, to) {
                    Ok(()) => self.sent.set(self.sent.get() + bytes.len() as u64),
                    Err(_) => of.listener.dropped(of.worker, Dropped::ToClient),
                }
                if self.options().replies.is_some() {
                    let awaited = self.awaited.get().saturating_sub(1);
                    self.awaited.set(awaited);
                    if awaited == 0 {
                        self.ended.set(true);
                    }
                }
            }
            of.worker.give_batch(batch);
            match taken {
                Ok(count) if count == BATCH => {}
                Ok(_) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    tracing::trace!(%error, host = self.host.host.text, "a host does not answer");
                    of.worker.shard.add(metrics.host_errors.0, 1);
                    self.flags.set(Flags::UPSTREAM_CONNECTION_FAILURE);
                    self.ended.set(true);
                    return false;
                }
            }
        }
        true
    }
}

/// Where a session is served.
struct Of<'a> {
    listener: &'a UdpListener,
    worker: &'a Worker,
}

/// Carries answers back until the session is over.
pub(super) async fn serve(session: Rc<Session>, listener: Rc<UdpListener>, worker: Rc<Worker>) {
    let mut timer = Timer::new(&worker.timers);
    let of = Of {
        listener: &listener,
        worker: &worker,
    };
    std::future::poll_fn(|cx| session.poll(cx, &mut timer, &of)).await;
    listener.close(&worker, &session);
}

/// A socket of its own for a session, so that answers are known by where they come to.
fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.connect(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
