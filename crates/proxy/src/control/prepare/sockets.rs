//! The sockets of listeners, and what bounds their connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use transom_config::{ListenAddress, Listener};

use super::Preparer;
use crate::control::ApplyError;
use crate::control::snapshot::{PreparedListener, Snapshot};
use crate::listener::limits::{AcceptRate, Counts, ListenerLimits, ListenerMetrics, Pause};
use crate::socket::SocketSet;

/// Descriptors that connections leave to the process: its own files and sockets, event loops, health checks, idle connections
/// to hosts.
const OWN_DESCRIPTORS: u64 = 128;
/// However few descriptors there are.
const FEWEST_CONNECTIONS: u32 = 64;

impl Preparer {
    /// The sockets of a listener: those that it has, those of the listener that had this address, or new ones. And whether they
    /// are others than it had.
    pub(super) fn sockets(
        &self,
        listener: &Listener,
        before: Option<&Snapshot>,
        known: Option<&Arc<PreparedListener>>,
    ) -> Result<(Arc<SocketSet>, bool), ApplyError> {
        let address = &listener.address.value;
        let bound = match address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) | ListenAddress::Udp(_) => None,
        };
        let has = |prepared: &PreparedListener| {
            prepared.config.address.value == *address
                || bound.is_some() && prepared.sockets.address() == bound
        };
        let known = known.filter(|known| has(known));
        // Port 0 is a new port each time; any other address may move from one listener to another.
        let may_move = bound.is_none_or(|address| address.port() != 0);
        let owner = before
            .filter(|_| may_move)
            .and_then(|before| before.listeners.values().find(|prepared| has(prepared)));
        if let Some(owner) = known.or(owner) {
            let is_same = owner.config.transparent == listener.transparent
                && owner.config.unix_socket == listener.unix_socket;
            if !is_same {
                let changed = owner.sockets.set_options(listener);
                changed.map_err(|error| cannot_listen(listener, &error))?;
            }
            return Ok((Arc::clone(&owner.sockets), known.is_none()));
        }
        let sockets = match address {
            ListenAddress::Unix(path) => SocketSet::bind_unix(path, &listener.unix_socket),
            ListenAddress::Tcp(address) | ListenAddress::Udp(address) => {
                SocketSet::bind(*address, self.workers, listener.transparent)
            }
        };
        let sockets = sockets.map_err(|error| cannot_listen(listener, &error))?;
        Ok((Arc::new(sockets), true))
    }

    pub(super) fn listener_limits(
        &self,
        listener: &Listener,
        known: Option<&ListenerLimits>,
    ) -> Result<ListenerLimits, ApplyError> {
        let metrics = self.metrics.metrics();
        let name = listener.name.as_str();
        let labels = [("listener", name)];
        let pause = |why: Pause| {
            let [rate, connections, descriptors] = Pause::NAMES;
            let why = match why {
                Pause::Rate => rate,
                Pause::Full => connections,
                Pause::Descriptors => descriptors,
            };
            metrics.counter(
                "accept_pauses_total",
                "Times that connections were left waiting to be accepted: because of accept_rate, because the process had its most, or because there were no descriptors.",
                &[("listener", name), ("reason", why)],
            )
        };
        let rate = listener.accept_rate.map(|rate| {
            match known.and_then(|known| known.rate.as_ref()) {
                // What was taken stays taken. A rate that changes does so at once: a configuration that is refused after all
                // puts back nothing, and the next that is not sets it again.
                Some(known) => {
                    known.set(rate);
                    Arc::clone(known)
                }
                None => Arc::new(AcceptRate::new(rate)),
            }
        });
        Ok(ListenerLimits {
            counts: known.map_or_else(
                || Arc::new(Counts::new(&self.total)),
                |known| Arc::clone(&known.counts),
            ),
            most: listener.max_connections,
            rate,
            balance: listener.balance,
            inboxes: Arc::clone(&self.inboxes),
            metrics: ListenerMetrics {
                accepted: metrics.counter(
                    "connections_total",
                    "Connections that were accepted.",
                    &labels,
                )?,
                refused: metrics.counter(
                    "connections_refused_total",
                    "Connections that were closed at once because the listener had its most.",
                    &labels,
                )?,
                pauses: [
                    pause(Pause::Rate)?,
                    pause(Pause::Full)?,
                    pause(Pause::Descriptors)?,
                ],
                unmatched: metrics.counter(
                    "connections_unmatched_total",
                    "Connections that were closed because no filter chain is for them.",
                    &labels,
                )?,
                timed_out: metrics.counter(
                    "listener_filter_timeouts_total",
                    "Connections whose listener filters waited for longer than listener_filters_timeout.",
                    &labels,
                )?,
                active: metrics.gauge(
                    "connections_active",
                    "Connections that are open.",
                    &labels,
                )?,
            },
        })
    }

    /// Divides what the process may have among the listeners of a snapshot that became active.
    pub(crate) fn divide_places(&self, snapshot: &Snapshot) {
        let most = snapshot.resources.limits.max_connections;
        let counts: Vec<&Counts> = snapshot
            .listeners
            .values()
            .map(|listener| &*listener.limits.counts)
            .chain(
                snapshot
                    .udp_listeners
                    .values()
                    .map(|listener| &*listener.limits.counts),
            )
            .collect();
        let most = most.unwrap_or_else(connections_by_descriptors);
        self.total.divide(most, counts.into_iter());
        let before = self.limit.swap(most, Ordering::Relaxed);
        let change = i64::from(most) - i64::from(before);
        self.metrics.add_by_control(self.limit_metric.0, change);
    }
}

/// As many connections as have two descriptors each: one for the client, one for its host.
fn connections_by_descriptors() -> u32 {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    // `None` is no limit.
    let connections = descriptors.map_or(u64::MAX, |most| most.saturating_sub(OWN_DESCRIPTORS) / 2);
    u32::try_from(connections)
        .unwrap_or(u32::MAX)
        .max(FEWEST_CONNECTIONS)
}

/// Why an address could not be bound, and what to do.
pub(super) fn cannot_listen(listener: &Listener, error: &std::io::Error) -> ApplyError {
    let is_unix = matches!(listener.address.value, ListenAddress::Unix(_));
    let help = match error.kind() {
        std::io::ErrorKind::AddrInUse if is_unix => {
            "a living process listens on this socket: end it or choose another path"
        }
        std::io::ErrorKind::AddrInUse => {
            "another process, or another listener, has this address: end it or choose another port"
        }
        std::io::ErrorKind::AlreadyExists => "remove the file or choose another path",
        std::io::ErrorKind::NotFound if is_unix => {
            "the folder of the socket must be there, and so must the user and the group that it is to belong to"
        }
        std::io::ErrorKind::PermissionDenied if is_unix => {
            "the process must be allowed to write to the folder of the socket, and to give it to its user and group"
        }
        std::io::ErrorKind::PermissionDenied if listener.transparent => {
            "`transparent` needs the capability CAP_NET_ADMIN or CAP_NET_RAW, and ports below 1024 CAP_NET_BIND_SERVICE: grant it"
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose a higher port or grant it"
        }
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        _ => "see the kernel's word above",
    };
    ApplyError::at(
        listener.address.span,
        format!(
            "the listener `{}` cannot listen on {}: {error}",
            listener.name, listener.address.value
        ),
        help,
    )
}
