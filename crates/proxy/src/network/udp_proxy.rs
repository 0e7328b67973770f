//! `udp_proxy`: sends clients' datagrams to hosts of a cluster, and the answers back.
//!
//! UDP knows no connections: what comes from one address and port is a session, which has a host and a socket of its own
//! towards it until nothing has come for a while. The kernel deals out clients to workers by their addresses, so that a
//! session lives on one worker.

mod session;
mod sockets;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use transom_api::{Counter, Gauge};
use transom_config::HostAddress;

use self::session::{Forwarded, Place, Session};
pub(crate) use self::sockets::UdpSocketSet;
use super::datagram::{self, BATCH};
use super::targets::Targets;
use crate::cluster::{Active, Slot, WorkerCluster, WorkerHost};
use crate::listener::limits::{ListenerLimits, On};
use crate::stream::chain::AccessLogPlace;
use crate::worker::Worker;

/// Batches in one turn, before others have theirs.
const TURN: usize = 4;
/// While a listener drains, a session that has been quiet for so long is over: an answer that comes later is late for most
/// protocols on UDP.
const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// And all sessions of a listener that is gone are over after this.
const DRAIN_MOST: Duration = Duration::from_secs(30);

/// The `udp_proxy` of a listener, as one worker holds it.
pub(crate) struct UdpProxyListener {
    pub(crate) options: UdpProxyOptions,
    pub(crate) access_logs: Vec<Rc<AccessLogPlace>>,
}

/// The `udp_proxy` of a listener.
#[derive(Clone, Debug)]
pub(crate) struct UdpProxyOptions {
    pub(crate) targets: Targets,
    pub(crate) idle_timeout: Duration,
    /// How many datagrams a host answers to each of a client.
    pub(crate) replies: Option<u32>,
    pub(crate) hash_source: bool,
    pub(crate) metrics: UdpProxyMetrics,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpProxyMetrics {
    pub(crate) sessions: Gauge,
    pub(crate) sessions_total: Counter,
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) idle_timeouts: Counter,
    pub(crate) host_errors: Counter,
    /// In the order of [`Dropped`].
    pub(crate) dropped: [Counter; 8],
}

/// Why a datagram went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    NoCluster,
    NoHost,
    TooManySessions,
    /// The cluster, or the host, has its most.
    Overflow,
    Draining,
    /// No socket could be made.
    Socket,
    /// The kernel did not take it for the host, or for the client.
    ToHost,
    ToClient,
}

impl Dropped {
    pub(crate) const NAMES: [&'static str; 8] = [
        "no_cluster",
        "no_host",
        "too_many_sessions",
        "overflow",
        "draining",
        "no_socket",
        "to_host",
        "to_client",
    ];
}

/// A UDP listener on one worker.
pub(crate) struct UdpListener {
    name: Rc<str>,
    proxy: RefCell<Rc<UdpProxyListener>>,
    limits: RefCell<ListenerLimits>,
    socket: UdpSocket,
    address: SocketAddr,
    sessions: RefCell<HashMap<Client, Rc<Session>>>,
    draining: Cell<bool>,
    drained: Notify,
}

/// Who sends, and to which of this machine's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client {
    from: SocketAddr,
    to: Option<IpAddr>,
}

impl UdpListener {
    pub(crate) fn new(
        name: &str,
        proxy: Rc<UdpProxyListener>,
        limits: ListenerLimits,
        socket: std::net::UdpSocket,
    ) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket)?;
        let address = socket.local_addr()?;
        if address.ip().is_unspecified() {
            datagram::tell_destinations(&socket, address)?;
        }
        Ok(Self {
            name: Rc::from(name),
            proxy: RefCell::new(proxy),
            limits: RefCell::new(limits),
            socket,
            address,
            sessions: RefCell::default(),
            draining: Cell::new(false),
            drained: Notify::new(),
        })
    }

    /// What new sessions get from now on. Gives back what they got before.
    pub(crate) fn replace(
        &self,
        proxy: Rc<UdpProxyListener>,
        limits: ListenerLimits,
    ) -> Rc<UdpProxyListener> {
        self.limits.replace(limits);
        self.proxy.replace(proxy)
    }

    pub(crate) fn proxy(&self) -> Rc<UdpProxyListener> {
        Rc::clone(&self.proxy.borrow())
    }

    /// Serves until the listener has drained.
    pub(crate) async fn serve(self: Rc<Self>, worker: Rc<Worker>) {
        let served = async {
            loop {
                if let Err(error) = self.socket.readable().await {
                    tracing::warn!(listener = &*self.name, %error, "datagrams cannot be read");
                    return;
                }
                self.take_datagrams(&worker);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = served => {}
            () = self.drained.notified() => {}
        }
    }

    /// Takes no more clients, and lets go of those that are there when they are quiet.
    pub(crate) fn drain(self: &Rc<Self>) {
        if self.draining.replace(true) {
            return;
        }
        let sessions: Vec<Rc<Session>> = self.sessions.borrow().values().map(Rc::clone).collect();
        if sessions.is_empty() {
            self.drained.notify_one();
        }
        for session in &sessions {
            session.wake();
        }
        let listener = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(DRAIN_MOST).await;
            for session in listener.sessions.borrow().values() {
                session.end();
            }
        });
    }

    fn take_datagrams(self: &Rc<Self>, worker: &Rc<Worker>) {
        for _ in 0..TURN {
            // Taken out while it is looked at: what is sent on borrows nothing of the worker.
            let mut batch = worker.take_batch();
            let taken = self
                .socket
                .try_io(Interest::READABLE, || batch.receive(&self.socket));
            for (came, bytes) in batch.datagrams() {
                let client = Client {
                    from: came.from,
                    to: came.to,
                };
                self.forward(worker, client, bytes);
            }
            worker.give_batch(batch);
            match taken {
                Ok(count) if count == BATCH => {}
                // Fewer than there was room for: what comes later is told anew, and an error by the next call.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Sends a client's datagram to its host.
    fn forward(self: &Rc<Self>, worker: &Rc<Worker>, client: Client, bytes: &[u8]) {
        let metrics = self.proxy.borrow().options.metrics;
        worker.shard.add(metrics.received.0, 1);
        worker
            .shard
            .add(metrics.received_bytes.0, bytes.len() as i64);
        // A host that is found gone by this datagram leaves it to another.
        for _ in 0..2 {
            let known = self.sessions.borrow().get(&client).map(Rc::clone);
            let session = match known {
                Some(session) if session.is_usable() => session,
                known => {
                    if let Some(unusable) = known {
                        self.close(worker, &unusable);
                    }
                    match self.open(worker, client) {
                        Ok(session) => session,
                        Err(why) => return self.dropped(worker, why),
                    }
                }
            };
            match session.forward(worker, bytes) {
                Forwarded::Yes => return,
                Forwarded::Dropped => return self.dropped(worker, Dropped::ToHost),
                Forwarded::Gone => {
                    worker.shard.add(metrics.host_errors.0, 1);
                    self.close(worker, &session);
                }
            }
        }
        self.dropped(worker, Dropped::NoHost);
    }

    fn open(self: &Rc<Self>, worker: &Rc<Worker>, client: Client) -> Result<Rc<Session>, Dropped> {
        if self.draining.get() {
            return Err(Dropped::Draining);
        }
        let proxy = self.proxy();
        let options = &proxy.options;
        let destination =
            SocketAddr::new(client.to.unwrap_or(self.address.ip()), self.address.port());
        let cluster = options
            .targets
            .pick(Some(client.from), Some(destination), || worker.random())
            .and_then(|cluster| worker.cluster(cluster))
            .ok_or(Dropped::NoCluster)?;
        let host = if options.hash_source {
            by_hash(&cluster, client.from.ip())
        } else {
            cluster.pick(&[])
        };
        let host = host.ok_or(Dropped::NoHost)?;
        let HostAddress::Tcp(address) = host.host.address else {
            // A Unix socket takes no datagrams of UDP; the loader has refused such a cluster.
            return Err(Dropped::NoHost);
        };
        let limits = self.limits.borrow();
        let Ok(admission) = limits.admit(On::Worker(worker.index), false) else {
            worker.shard.add(limits.metrics.refused.0, 1);
            return Err(Dropped::TooManySessions);
        };
        // Nothing is kept for who would have to wait: a datagram that comes late is as good as one that is lost.
        let Some(slot) = Slot::open(&host, worker.now()) else {
            worker.shard.add(host.metrics.overflows.connections.0, 1);
            return Err(Dropped::Overflow);
        };
        worker.shard.add(host.metrics.connections.0, 1);
        let place = Place {
            _admission: admission,
            _active: Active::relay(&host),
            _slot: slot,
        };
        let made = Session::new(
            worker,
            self,
            &proxy,
            client,
            destination,
            (host, address),
            place,
        );
        let session = match made {
            Ok(session) => Rc::new(session),
            Err(error) => {
                tracing::debug!(listener = &*self.name, %error, "a session has no socket");
                return Err(Dropped::Socket);
            }
        };
        session.tell_cluster(&cluster.name);
        worker.shard.add(options.metrics.sessions.0, 1);
        worker.shard.add(options.metrics.sessions_total.0, 1);
        worker.shard.add(limits.metrics.accepted.0, 1);
        worker.shard.add(limits.metrics.active.0, 1);
        worker.connection_began();
        self.sessions
            .borrow_mut()
            .insert(client, Rc::clone(&session));
        tokio::task::spawn_local(session::serve(
            Rc::clone(&session),
            Rc::clone(self),
            Rc::clone(worker),
        ));
        Ok(session)
    }

    /// A session is over. Twice is once.
    fn close(&self, worker: &Worker, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        let client = session.client();
        if !sessions
            .get(&client)
            .is_some_and(|known| Rc::ptr_eq(known, session))
        {
            return;
        }
        sessions.remove(&client);
        let is_empty = sessions.is_empty();
        drop(sessions);
        session.end();
        session.record();
        session.leave();
        let active = self.limits.borrow().metrics.active;
        worker.shard.add(active.0, -1);
        worker.shard.add(session.options().metrics.sessions.0, -1);
        worker.connection_ended();
        if is_empty && self.draining.get() {
            self.drained.notify_one();
        }
    }

    fn dropped(&self, worker: &Worker, why: Dropped) {
        let metrics = self.proxy.borrow().options.metrics;
        if let Some(counter) = metrics.dropped.get(why as usize) {
            worker.shard.add(counter.0, 1);
        }
    }
}

/// The host that a client's address leads to: the one that is nearest to it of those that are available (rendezvous
/// hashing, Thaler and Ravishankar, 1998). A host that goes takes only its own clients with it.
fn by_hash(cluster: &WorkerCluster, client: IpAddr) -> Option<Rc<WorkerHost>> {
    let weights = cluster.prepared.weights.iter();
    let hosts = cluster.hosts().iter().zip(weights);
    hosts
        .filter(|(host, _)| cluster.is_available(host))
        .map(|(host, weight)| (host, distance(&host.host.text, client, *weight)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(host, _)| Rc::clone(host))
}

/// How far a client is from a host: an exponential variable whose rate is the weight, so that each host is the nearest in
/// the share of its weight (Schindelhauer and Schomaker, Weighted distributed hash tables, 2005).
fn distance(host: &str, client: IpAddr, weight: u32) -> f64 {
    // The 53 bits that a double holds, in the middle of their step: never 0, whose logarithm there is none of.
    const STEPS: f64 = (1_u64 << 53) as f64;
    let share = ((worth(host, client) >> 11) as f64 + 0.5) / STEPS;
    -share.ln() / f64::from(weight)
}

/// FNV-1a over both, spread over all bits: the same in every process and version.
fn worth(host: &str, client: IpAddr) -> u64 {
    let fnv = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut state = host.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    state = match client.to_canonical() {
        IpAddr::V4(client) => client.octets().into_iter().fold(state, fnv),
        IpAddr::V6(client) => client.octets().into_iter().fold(state, fnv),
    };
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spread_and_a_host_that_goes_takes_only_its_own() {
        let hosts = ["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"];
        let choose = |hosts: &[&'static str], client: u32| {
            let client = IpAddr::from(client.to_be_bytes());
            let by_distance = |host: &&&str| distance(host, client, 1).to_bits();
            *hosts.iter().min_by_key(by_distance).unwrap()
        };
        let mut counts = HashMap::new();
        for client in 0..3_000 {
            let all = choose(&hosts, client);
            *counts.entry(all).or_insert(0) += 1;
            if all != hosts[2] {
                assert_eq!(choose(&hosts[..2], client), all);
            }
        }
        // A thousand each; five standard deviations are 130.
        assert!(
            counts.values().all(|count| (870..1_130).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn clients_are_spread_by_weight() {
        let hosts = [("10.0.0.1:53", 1), ("10.0.0.2:53", 2), ("10.0.0.3:53", 5)];
        let mut counts = [0; 3];
        for client in 0..8_000_u32 {
            let client = IpAddr::from(client.to_be_bytes());
            let far = |index: &usize| {
                let (host, weight) = hosts[*index];
                distance(host, client, weight).to_bits()
            };
            counts[(0..3).min_by_key(far).unwrap()] += 1;
        }
        // Five standard deviations are 150, 195 and 220.
        for (count, wanted) in counts.into_iter().zip([1_000_i32, 2_000, 5_000]) {
            assert!((count - wanted).abs() < 220, "{counts:?}");
        }
    }
}
