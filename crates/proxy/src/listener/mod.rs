//! A listener on one worker: accepts, and keeps count of its connections.

pub(crate) mod accept;
mod chains;
mod filters;
pub(crate) mod limits;
mod log;
mod notes;
mod slot;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};
use transom_api::SocketInfo;
use transom_api::listener::HandOver;
use transom_config::{Balance, ListenAddress};

use self::accept::{Accepting, Stop};
pub(crate) use self::chains::{Chains, WorkerChain};
pub(crate) use self::filters::ListenerPlace;
use self::limits::{Admission, ListenerLimits, On};
use self::log::ConnectionLog;
pub(crate) use self::log::ListenerLogs;
pub(crate) use self::notes::ConnectionNotes;
pub(crate) use self::slot::ConnectionSlot;
use self::slot::{Place, Places};

use crate::http::connection::HttpConnection;
use crate::http::foreign_connection::ForeignServing;
use crate::io::{CountedIo, Io, PrefixedIo};
use crate::metrics::Shard;
use crate::network::tcp_proxy::{self, Joining};
use crate::network::{FilteredIo, Network, Terminal, alone};
use crate::stream::info::ConnectionInfo;
use crate::tls::{self, TlsInfo};
use crate::worker::Worker;
use crate::worker::inbox::Command;

/// A listener as one worker holds it. Lives as long as its sockets; what it does with connections is replaced by
/// every activation that changes it.
pub(crate) struct WorkerListener {
    name: Rc<str>,
    /// Where it listens; port 0 is the port that it got.
    address: ListenAddress,
    chains: RefCell<Rc<Chains>>,
    limits: RefCell<Arc<ListenerLimits>>,
    connections: RefCell<Places>,
    stop: Stop,
    draining: Cell<bool>,
    /// How often connections were told to end. What all connections share is at hand when one of them is served; its own
    /// [`Place`] is not, and needs no look as long as this stands still.
    drains: Cell<u32>,
}

impl WorkerListener {
    pub(crate) fn new(
        name: &str,
        address: ListenAddress,
        chains: Rc<Chains>,
        limits: ListenerLimits,
    ) -> Self {
        Self {
            name: Rc::from(name),
            address,
            chains: RefCell::new(chains),
            limits: RefCell::new(Arc::new(limits)),
            connections: RefCell::default(),
            stop: Stop::default(),
            draining: Cell::new(false),
            drains: Cell::new(0),
        }
    }

    /// What connections get from now on. Connections of a chain that is gone end after what they are doing.
    pub(crate) fn replace(&self, chains: &Rc<Chains>, limits: ListenerLimits) {
        self.limits.replace(Arc::new(limits));
        let before = self.chains.replace(Rc::clone(chains));
        for gone in before.all() {
            if !chains.all().any(|chain| Rc::ptr_eq(chain, gone)) {
                self.drain_those(|place| place.is_of(gone));
            }
        }
    }

    pub(crate) fn chains(&self) -> Rc<Chains> {
        Rc::clone(&self.chains.borrow())
    }

    pub(crate) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Whether workers accept connections for each other.
    pub(crate) fn shares_connections(&self) -> bool {
        matches!(self.address, ListenAddress::Tcp(_))
            && self.limits.borrow().balance == Balance::Exact
    }

    fn limits(&self) -> Arc<ListenerLimits> {
        Arc::clone(&self.limits.borrow())
    }

    /// Accepts on the worker's own socket until the listener drains. What the kernel had queued by then is still served.
    pub(crate) async fn accept(self: Rc<Self>, worker: Rc<Worker>, socket: OwnedFd) {
        let here = Here {
            listener: Rc::clone(&self),
            worker,
        };
        accept::accept(socket, &self.stop, &here).await;
    }

    /// Serves a connection that was accepted elsewhere and counted for this worker.
    pub(crate) fn take_over(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        socket: OwnedFd,
        mut admission: Admission,
    ) {
        admission.move_to(worker.index);
        let stream = match &self.address {
            ListenAddress::Unix(_) => {
                let stream = std::os::unix::net::UnixStream::from(socket);
                UnixStream::from_std(stream).map(Io::Unix)
            }
            ListenAddress::Tcp(_) | ListenAddress::Udp(_) => {
                TcpStream::from_std(std::net::TcpStream::from(socket)).map(Io::Tcp)
            }
        };
        match stream {
            Ok(stream) => self.serve(worker, stream, admission),
            Err(error) => {
                tracing::error!(listener = &*self.name, %error, "the event loop refuses a connection");
            }
        }
    }

    /// Takes no more connections, and has those that are there end after what they are doing.
    pub(crate) fn drain(&self) {
        if self.draining.replace(true) {
            return;
        }
        self.stop.stop();
        self.drain_those(|_| true);
    }

    fn drain_those(&self, which: impl Fn(&Place) -> bool) {
        self.drains.set(self.drains.get().wrapping_add(1).max(1));
        let connections = self.connections.borrow();
        let places: Vec<Rc<Place>> = connections
            .all()
            .filter(|place| which(place))
            .map(Rc::clone)
            .collect();
        drop(connections);
        for place in places {
            place.drain();
        }
    }

    /// Gives a connection its place.
    fn enter(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        socket: &SocketInfo,
        admission: Admission,
    ) -> ConnectionSlot {
        let metrics = self.limits.borrow().metrics;
        worker.shard.add(metrics.accepted.0, 1);
        worker.shard.add(metrics.active.0, 1);
        let slot = ConnectionSlot::new(self, worker, admission);
        let chains = self.chains();
        if !chains.access_logs.is_empty() {
            let info = Rc::new(self.info(slot.id(), socket, None));
            slot.set_log(ConnectionLog::new(worker, &chains.access_logs, info));
        }
        slot
    }

    /// Takes a connection over from another listener. `None`: this one has its most.
    fn adopt(self: &Rc<Self>, worker: &Rc<Worker>, socket: &SocketInfo) -> Option<ConnectionSlot> {
        let limits = self.limits();
        match limits.admit(On::Worker(worker.index), true) {
            Ok(admission) => Some(self.enter(worker, socket, admission)),
            Err(_) => {
                worker.shard.add(limits.metrics.refused.0, 1);
                None
            }
        }
    }

    fn serve(self: &Rc<Self>, worker: &Rc<Worker>, stream: Io, admission: Admission) {
        let info = addresses(&stream);
        let slot = self.enter(worker, &info, admission);
        if let Io::Tcp(stream) = &stream {
            // Heads and small bodies leave in one write; waiting for more only adds latency. A socket that refuses is one
            // whose client has gone already.
            let _ = stream.set_nodelay(true);
        }
        let chains = self.chains();
        if chains.listener_filters.is_empty()
            && let Some(chain) = chains.only()
        {
            let network = chain.network();
            if network.tls.is_none() {
                let original = self.original(&info, info.destination);
                return self.begin(worker, chain, &network, stream, &info, original, None, slot);
            }
        }
        let (listener, worker) = (Rc::clone(self), Rc::clone(worker));
        tokio::task::spawn_local(listener.carry(worker, stream, info, slot));
    }

    /// Takes a socket through the listener filters, to its chain, and through TLS.
    async fn carry(
        self: Rc<Self>,
        worker: Rc<Worker>,
        mut io: Io,
        mut info: SocketInfo,
        mut slot: ConnectionSlot,
    ) {
        let here = info.destination;
        let mut listener = self;
        let mut prefix = Vec::new();
        let mut handed_over = false;
        let (passed, chains) = loop {
            let chains = listener.chains();
            let timed_out = listener.limits.borrow().metrics.timed_out;
            let passing = filters::pass(
                &worker,
                &chains,
                timed_out,
                &listener.address,
                io,
                prefix,
                info,
            );
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
            let Some(admitted) = next.adopt(&worker, &passed.info) else {
                return;
            };
            slot = admitted;
            listener = next;
            (io, prefix, info) = (passed.io, passed.prefix, passed.info);
        };
        let Some(chain) = chains.find(&passed.info) else {
            let unmatched = listener.limits.borrow().metrics.unmatched;
            worker.shard.add(unmatched.0, 1);
            slot.fail("no filter chain is for it");
            return;
        };
        slot.take_chain(chain);
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
        let original = listener.original(&passed.info, here);
        listener.begin(
            &worker,
            chain,
            &network,
            io,
            &passed.info,
            original,
            known,
            slot,
        );
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
        original: Option<SocketAddr>,
        tls: Option<Box<TlsInfo>>,
        slot: ConnectionSlot,
    ) {
        slot.take_chain(chain);
        let info = ConnectionInfo {
            original: original.map(Box::new),
            ..self.info(slot.id(), socket, tls)
        };
        let info = Rc::new(info);
        if slot.log_served(&info) {
            io = Io::Counted(Box::new(CountedIo::new(io, Rc::clone(&info))));
        }
        if !network.filters.is_empty() {
            let places = Rc::clone(&network.filters);
            let filtered = FilteredIo::new(io, Rc::clone(worker), Rc::clone(&info), places);
            io = Io::Filtered(Box::new(filtered));
        }
        match &network.terminal {
            Terminal::Http(http) => {
                let (worker, chain) = (Rc::clone(worker), Rc::clone(chain));
                if http.protocol.is_some() {
                    let serving = ForeignServing::new(io, worker, chain, http, info, slot);
                    tokio::task::spawn_local(serving);
                } else {
                    let connection = HttpConnection::new(io, chain, http, info, slot);
                    tokio::task::spawn_local(connection);
                }
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

    /// Where a client wanted to go that was accepted `here`, when that is not here: its destination was found out to be another,
    /// or the kernel has brought it to a socket that is not bound there.
    fn original(&self, socket: &SocketInfo, here: Option<SocketAddr>) -> Option<SocketAddr> {
        let destination = socket.destination?;
        let is_elsewhere = here.is_some_and(|here| here != destination)
            || !is_bound_at(&self.address, destination);
        is_elsewhere.then_some(destination)
    }

    /// What is known of a connection.
    fn info(&self, id: u64, socket: &SocketInfo, tls: Option<Box<TlsInfo>>) -> ConnectionInfo {
        ConnectionInfo {
            source: socket.source,
            destination: socket.destination,
            tls,
            ..ConnectionInfo::new(id, Rc::clone(&self.name))
        }
        .found(socket.server_name.clone(), socket.metadata.clone())
    }
}

/// A listener's socket on this worker.
struct Here {
    listener: Rc<WorkerListener>,
    worker: Rc<Worker>,
}

impl Accepting for Here {
    fn limits(&self) -> Arc<ListenerLimits> {
        self.listener.limits()
    }

    fn worker(&self) -> Option<usize> {
        Some(self.worker.index)
    }

    fn name(&self) -> String {
        self.listener.name.to_string()
    }

    fn shard(&self) -> &Shard {
        &self.worker.shard
    }

    fn serve(&self, socket: OwnedFd, admission: Admission) {
        let limits = self.listener.limits();
        let other = limits.inboxes.get(admission.worker());
        match other.filter(|_| admission.worker() != self.worker.index) {
            Some(other) => other.send(Command::Connection {
                listener: self.listener.address.clone(),
                socket,
                admission,
            }),
            None => self.listener.take_over(&self.worker, socket, admission),
        }
    }
}

/// Whether a socket of this address may have been bound there.
fn is_bound_at(bound: &ListenAddress, address: SocketAddr) -> bool {
    match bound {
        ListenAddress::Tcp(bound) => {
            bound.port() == address.port()
                && (bound.ip() == address.ip() || bound.ip().is_unspecified())
        }
        ListenAddress::Unix(_) | ListenAddress::Udp(_) => false,
    }
}

/// What a socket says of its two ends.
fn addresses(stream: &Io) -> SocketInfo {
    let Io::Tcp(stream) = stream else {
        return SocketInfo::default();
    };
    let source = stream.peer_addr().ok();
    SocketInfo {
        source,
        direct_source: source,
        destination: stream.local_addr().ok(),
        ..SocketInfo::default()
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
                listener.address == ListenAddress::Tcp(SocketAddr::new(ip, destination.port()))
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
