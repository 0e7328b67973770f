//! A listener on one worker: accepts, and keeps count of its connections.

mod chains;
mod filters;
mod log;
mod notes;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use transom_api::listener::HandOver;
use transom_api::{Counter, Gauge, SocketInfo};

pub(crate) use self::chains::{Chains, WorkerChain};
pub(crate) use self::filters::ListenerPlace;
use self::log::ConnectionLog;
pub(crate) use self::log::ListenerLogs;
pub(crate) use self::notes::ConnectionNotes;

use crate::http::connection::HttpConnection;
use crate::io::{CountedIo, Io, PrefixedIo};
use crate::network::tcp_proxy::{self, Joining};
use crate::network::{FilteredIo, Network, Terminal, alone};
use crate::stream::info::ConnectionInfo;
use crate::tls::{self, TlsInfo};
use crate::worker::Worker;

/// A listener as one worker holds it. Lives as long as its sockets; what it does with connections is replaced by
/// every activation that changes it.
pub(crate) struct WorkerListener {
    name: Rc<str>,
    /// Where it listens.
    address: SocketAddr,
    chains: RefCell<Rc<Chains>>,
    limits: ListenerLimits,
    /// How many connections may be open; changes with the configuration.
    most: Cell<Option<u32>>,
    connections: RefCell<Slots>,
    stop: Notify,
    draining: Cell<bool>,
    /// How often connections were told to end. What all connections share is at hand when one of them is served; its own
    /// [`SlotState`] is not, and needs no look as long as this stands still.
    drains: Cell<u32>,
}

/// What all workers of a listener share.
#[derive(Clone, Debug)]
pub(crate) struct ListenerLimits {
    /// Connections that are open now, in the process.
    pub(crate) open: Arc<AtomicU32>,
    pub(crate) most: Option<u32>,
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    /// Connections for which no chain is.
    pub(crate) unmatched: Counter,
    /// Connections whose listener filters waited for too long.
    pub(crate) timed_out: Counter,
    pub(crate) active: Gauge,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Option<Rc<SlotState>>>,
    free: Vec<usize>,
}

#[derive(Default)]
struct SlotState {
    /// The chain that the connection took, once it did.
    chain: RefCell<Option<Rc<WorkerChain>>>,
    waker: RefCell<Option<Waker>>,
    draining: Cell<bool>,
    news: Cell<bool>,
}

/// A connection's place in its listener; given up when the connection ends.
pub(crate) struct ConnectionSlot {
    worker: Rc<Worker>,
    listener: Rc<WorkerListener>,
    state: Rc<SlotState>,
    /// The listener's count of drains when the waker was last left.
    watched_at: Cell<Option<u32>>,
    index: usize,
    /// The connection's number, unique in the process.
    id: u64,
    /// Writes the listener's access log when the connection ends.
    log: Option<Box<ConnectionLog>>,
}

impl WorkerListener {
    pub(crate) fn new(
        name: &str,
        address: SocketAddr,
        chains: Rc<Chains>,
        limits: ListenerLimits,
    ) -> Self {
        Self {
            name: Rc::from(name),
            address,
            chains: RefCell::new(chains),
            most: Cell::new(limits.most),
            limits,
            connections: RefCell::default(),
            stop: Notify::new(),
            draining: Cell::new(false),
            drains: Cell::new(0),
        }
    }

    /// What connections get from now on. Connections of a chain that is gone end after what they are doing.
    pub(crate) fn replace(&self, chains: &Rc<Chains>, most: Option<u32>) {
        self.most.set(most);
        let before = self.chains.replace(Rc::clone(chains));
        for gone in before.all() {
            if !chains.all().any(|chain| Rc::ptr_eq(chain, gone)) {
                self.drain_those(|slot| {
                    let chain = slot.chain.borrow();
                    chain.as_ref().is_some_and(|chain| Rc::ptr_eq(chain, gone))
                });
            }
        }
    }

    pub(crate) fn chains(&self) -> Rc<Chains> {
        Rc::clone(&self.chains.borrow())
    }

    /// Accepts until the listener drains. What the kernel had queued by then is still served.
    pub(crate) async fn accept(self: Rc<Self>, worker: Rc<Worker>, socket: TcpListener) {
        loop {
            tokio::select! {
                biased;
                accepted = socket.accept() => match accepted {
                    Ok((stream, _)) => self.serve(&worker, stream),
                    Err(error) => {
                        // Out of descriptors, most likely: trying at once would only burn the core.
                        tracing::warn!(listener = &*self.name, %error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                () = self.stop.notified() => return,
            }
        }
    }

    /// Takes no more connections, and has those that are there end after what they are doing.
    pub(crate) fn drain(&self) {
        if self.draining.replace(true) {
            return;
        }
        self.stop.notify_one();
        self.drain_those(|_| true);
    }

    fn drain_those(&self, which: impl Fn(&SlotState) -> bool) {
        self.drains.set(self.drains.get().wrapping_add(1).max(1));
        let slots: Vec<Rc<SlotState>> = self
            .connections
            .borrow()
            .slots
            .iter()
            .flatten()
            .filter(|slot| which(slot))
            .map(Rc::clone)
            .collect();
        for slot in slots {
            slot.draining.set(true);
            slot.news.set(true);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// Counts a connection, and gives it its place. `None`: the listener has its most.
    fn admit(self: &Rc<Self>, worker: &Rc<Worker>, socket: &SocketInfo) -> Option<ConnectionSlot> {
        let open = self.limits.open.fetch_add(1, Ordering::Relaxed);
        if self.most.get().is_some_and(|most| open >= most) {
            self.limits.open.fetch_sub(1, Ordering::Relaxed);
            worker.shard.add(self.limits.refused.0, 1);
            return None;
        }
        worker.shard.add(self.limits.accepted.0, 1);
        worker.shard.add(self.limits.active.0, 1);
        let mut slot = self.register(worker);
        let chains = self.chains();
        if !chains.access_logs.is_empty() {
            let info = Rc::new(self.info(slot.id, socket, None));
            slot.log = Some(ConnectionLog::new(worker, &chains.access_logs, info));
        }
        Some(slot)
    }

    fn serve(self: &Rc<Self>, worker: &Rc<Worker>, stream: TcpStream) {
        let source = stream.peer_addr().ok();
        let info = SocketInfo {
            source,
            direct_source: source,
            destination: stream.local_addr().ok(),
            ..SocketInfo::default()
        };
        let Some(slot) = self.admit(worker, &info) else {
            return;
        };
        // Heads and small bodies leave in one write; waiting for more only adds latency. A socket that refuses is one
        // whose client has gone already.
        let _ = stream.set_nodelay(true);
        let chains = self.chains();
        if chains.listener_filters.is_empty()
            && let Some(chain) = chains.only()
        {
            let network = chain.network();
            if network.tls.is_none() {
                return self.begin(worker, chain, &network, Io::Tcp(stream), &info, None, slot);
            }
        }
        let (listener, worker) = (Rc::clone(self), Rc::clone(worker));
        tokio::task::spawn_local(listener.carry(worker, Io::Tcp(stream), info, slot));
    }

    /// Takes a socket through the listener filters, to its chain, and through TLS.
    async fn carry(
        self: Rc<Self>,
        worker: Rc<Worker>,
        mut io: Io,
        mut info: SocketInfo,
        mut slot: ConnectionSlot,
    ) {
        let mut listener = self;
        let mut prefix = Vec::new();
        let mut handed_over = false;
        let (passed, chains) = loop {
            let chains = listener.chains();
            let passing = filters::pass(&worker, &chains, &listener.limits, io, prefix, info);
            let Some(passed) = passing.await else {
                slot.fail("a listener filter refused it, or it sent nothing in time");
                return;
            };
            // Once: two listeners that hand on to each other would do so for ever.
            let next = worker.listener_for(&passed.info);
            let next = next.filter(|next| !handed_over && !Rc::ptr_eq(next, &listener));
            let Some(next) = next else {
                break (passed, chains);
            };
            handed_over = true;
            slot.fail("another listener took it over");
            let Some(admitted) = next.admit(&worker, &passed.info) else {
                return;
            };
            slot = admitted;
            listener = next;
            (io, prefix, info) = (passed.io, passed.prefix, passed.info);
        };
        let Some(chain) = chains.find(&passed.info) else {
            worker.shard.add(listener.limits.unmatched.0, 1);
            slot.fail("no filter chain is for it");
            return;
        };
        *slot.state.chain.borrow_mut() = Some(Rc::clone(chain));
        let network = chain.network();
        let mut io = passed.io;
        if !passed.prefix.is_empty() {
            io = Io::Prefixed(Box::new(PrefixedIo::new(io, passed.prefix)));
        }
        let mut known = None;
        if let Some(prepared) = &network.tls {
            let accepting = tls::accept(&worker, &prepared.tls, &prepared.metrics, io);
            let Some((secured, info)) = accepting.await else {
                slot.fail("the TLS handshake failed");
                return;
            };
            io = secured;
            known = Some(Box::new(info));
        }
        listener.begin(&worker, chain, &network, io, &passed.info, known, slot);
    }

    /// Begins the connection of a socket that passed the listener filters and TLS.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a connection is made of, each once"
    )]
    fn begin(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        chain: &Rc<WorkerChain>,
        network: &Network,
        mut io: Io,
        socket: &SocketInfo,
        tls: Option<Box<TlsInfo>>,
        mut slot: ConnectionSlot,
    ) {
        *slot.state.chain.borrow_mut() = Some(Rc::clone(chain));
        let info = Rc::new(self.info(slot.id, socket, tls));
        if let Some(log) = &mut slot.log {
            log.serve(&info);
            io = Io::Counted(Box::new(CountedIo::new(io, Rc::clone(&info))));
        }
        if !network.filters.is_empty() {
            let places = Rc::clone(&network.filters);
            let filtered = FilteredIo::new(io, Rc::clone(worker), Rc::clone(&info), places);
            io = Io::Filtered(Box::new(filtered));
        }
        match &network.terminal {
            Terminal::Http(http) => {
                let connection =
                    HttpConnection::new(io, Rc::clone(worker), Rc::clone(chain), http, info, slot);
                tokio::task::spawn_local(connection);
            }
            Terminal::TcpProxy(proxy) => {
                tokio::task::spawn_local(tcp_proxy::serve(Joining {
                    client: io,
                    worker: Rc::clone(worker),
                    listener: Rc::clone(proxy),
                    places: Rc::clone(&network.filters),
                    info,
                    slot,
                }));
            }
            Terminal::Filters => {
                tokio::task::spawn_local(alone::serve(io, Rc::clone(worker), slot));
            }
        }
    }

    /// What is known of a connection.
    fn info(&self, id: u64, socket: &SocketInfo, tls: Option<Box<TlsInfo>>) -> ConnectionInfo {
        ConnectionInfo {
            id,
            listener: Rc::clone(&self.name),
            source: socket.source,
            destination: socket.destination,
            scheme: if tls.is_some() { "https" } else { "http" },
            server_name: match &tls {
                Some(tls) => tls.server_name.clone(),
                None => socket.server_name.clone(),
            },
            tls,
            metadata: socket.metadata.clone(),
            state: RefCell::default(),
            notes: ConnectionNotes::default(),
        }
    }

    fn register(self: &Rc<Self>, worker: &Rc<Worker>) -> ConnectionSlot {
        let state = Rc::new(SlotState::default());
        state.draining.set(self.draining.get());
        let mut connections = self.connections.borrow_mut();
        let index = connections.free.pop().unwrap_or(connections.slots.len());
        match connections.slots.get_mut(index) {
            Some(slot) => *slot = Some(Rc::clone(&state)),
            None => connections.slots.push(Some(Rc::clone(&state))),
        }
        worker.connection_began();
        ConnectionSlot {
            worker: Rc::clone(worker),
            listener: Rc::clone(self),
            state,
            watched_at: Cell::new(None),
            index,
            id: worker.connection_id(),
            log: None,
        }
    }
}

impl Worker {
    /// The listener that a socket is to be handed over to.
    fn listener_for(&self, socket: &SocketInfo) -> Option<Rc<WorkerListener>> {
        let to_loopback = match socket.hand_over {
            HandOver::Stay => return None,
            HandOver::ToDestination => false,
            HandOver::ToDestinationOrLoopback => true,
        };
        let destination = socket.destination?;
        let on = |ip: IpAddr| {
            self.find_listener(|listener| {
                listener.address == SocketAddr::new(ip, destination.port())
            })
        };
        let (any, loopback): (IpAddr, IpAddr) = if destination.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into())
        } else {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into())
        };
        on(destination.ip())
            .or_else(|| on(any))
            .or_else(|| on(loopback).filter(|_| to_loopback))
    }
}

impl ConnectionSlot {
    /// Why the connection is not served, for its log.
    fn fail(&mut self, why: &'static str) {
        if let Some(log) = &mut self.log {
            log.fail(why);
        }
    }

    /// Whom a drain wakes: the task that serves the connection, which is always the same.
    pub(crate) fn watch(&self, waker: &Waker) {
        let drains = Some(self.listener.drains.get());
        if self.watched_at.replace(drains) == drains {
            return;
        }
        let mut known = self.state.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.listener.drains.get() > 0 && self.state.draining.get()
    }

    /// True once, when a drain began.
    pub(crate) fn take_drain_news(&self) -> bool {
        self.listener.drains.get() > 0 && self.state.news.replace(false)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let listener = &self.listener;
        let mut connections = listener.connections.borrow_mut();
        if let Some(slot) = connections.slots.get_mut(self.index) {
            *slot = None;
        }
        connections.free.push(self.index);
        listener.limits.open.fetch_sub(1, Ordering::Relaxed);
        self.worker.shard.add(listener.limits.active.0, -1);
        self.worker.connection_ended();
    }
}
