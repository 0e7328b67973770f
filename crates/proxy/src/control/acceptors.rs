//! Accepting on sockets that are one for all workers: Unix sockets. Connections go on to workers as descriptors.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use transom_config::ListenAddress;

use super::snapshot::{PreparedListener, Snapshot};
use crate::cluster::transports::{MemoryListeners, Take};
use crate::listener::accept::{Accepting, Stop, accept};
use crate::listener::limits::{Admission, Full, ListenerLimits, On};
use crate::metrics::{MetricStore, Shard};
use crate::socket::SocketSet;
use crate::worker::inbox::Command;

/// The tasks that accept.
pub(super) struct Acceptors(Vec<Acceptor>, Arc<MemoryListeners>);

struct Acceptor {
    sockets: Arc<SocketSet>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    address: ListenAddress,
    target: Mutex<Target>,
    shard: Arc<Shard>,
    stop: Stop,
}

/// For whom is accepted.
#[derive(Clone)]
struct Target {
    listener: String,
    limits: Arc<ListenerLimits>,
}

impl Acceptors {
    /// None; those that come can be connected by `listeners`.
    pub(super) fn new(listeners: Arc<MemoryListeners>) -> Self {
        Self(Vec::new(), listeners)
    }

    /// Ends those whose socket `next` does not have. What is queued there has gone to the workers when this returns: it is for the
    /// listeners that they have now.
    pub(super) async fn stop_others(&mut self, next: Option<&Snapshot>) {
        let is_kept = |acceptor: &Acceptor| {
            next.is_some_and(|next| {
                let mut listeners = next.listeners.values();
                listeners.any(|listener| Arc::ptr_eq(&listener.sockets, &acceptor.sockets))
            })
        };
        for gone in self.0.extract_if(.., |acceptor| !is_kept(acceptor)) {
            // Whoever connects from now on finds nobody, instead of a queue that nobody reads.
            gone.sockets.hide();
            gone.shared.stop.stop();
            // It panicked, at worst: then it accepts no more either.
            let _ = gone.task.await;
        }
    }

    /// Accepts for the listeners of `snapshot`, which the workers have by now.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, metrics: &Arc<MetricStore>) {
        for (name, listener) in &snapshot.listeners {
            let Some(socket) = listener.sockets.unix() else {
                continue;
            };
            let target = Target {
                listener: name.clone(),
                limits: Arc::new(listener.limits.clone()),
            };
            let mut known = self.0.iter();
            if let Some(known) = known.find(|it| Arc::ptr_eq(&it.sockets, &listener.sockets)) {
                *known.shared.target() = target;
                continue;
            }
            match socket {
                Ok(socket) => {
                    let acceptor = Acceptor::start(listener, target, socket, metrics);
                    let shared = Arc::downgrade(&acceptor.shared);
                    self.1
                        .put(listener.config.address.value.to_string(), shared);
                    self.0.push(acceptor);
                }
                Err(error) => {
                    tracing::error!(listener = name, %error, "its connections cannot be accepted");
                }
            }
        }
    }
}

impl Acceptor {
    fn start(
        listener: &PreparedListener,
        target: Target,
        socket: OwnedFd,
        metrics: &MetricStore,
    ) -> Self {
        let shared = Arc::new(Shared {
            address: listener.config.address.value.clone(),
            target: Mutex::new(target),
            shard: metrics.control_shard(),
            stop: Stop::default(),
        });
        let by = Arc::clone(&shared);
        Self {
            sockets: Arc::clone(&listener.sockets),
            shared,
            task: tokio::spawn(async move { accept(socket, &by.stop, &*by).await }),
        }
    }
}

impl Shared {
    fn target(&self) -> std::sync::MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The transport `memory` hands over what nobody has queued.
impl Take for Shared {
    fn take(&self, socket: OwnedFd) -> bool {
        match self.limits().admit(On::Least(None), false) {
            Ok(admission) => self.serve(socket, admission),
            Err(Full::Listener) => {
                self.shard.add(self.limits().metrics.refused.0, 1);
                return false;
            }
            Err(Full::Process) => return false,
        }
        true
    }
}

impl Accepting for Shared {
    fn limits(&self) -> Arc<ListenerLimits> {
        Arc::clone(&self.target().limits)
    }

    fn worker(&self) -> Option<usize> {
        None
    }

    fn name(&self) -> String {
        self.target().listener.clone()
    }

    fn shard(&self) -> &Shard {
        &self.shard
    }

    fn serve(&self, socket: OwnedFd, admission: Admission) {
        let limits = self.limits();
        // There is an inbox for every worker that a connection can be counted for.
        if let Some(inbox) = limits.inboxes.get(admission.worker()) {
            inbox.send(Command::Connection {
                listener: self.address.clone(),
                socket,
                admission,
            });
        }
    }
}
