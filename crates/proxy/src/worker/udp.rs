//! Listeners for datagrams: building them and making them the active ones.

use std::collections::HashMap;
use std::rc::Rc;

use super::Worker;
use super::activate::retire_access_logs;
use crate::control::snapshot::Snapshot;
use crate::network::udp_proxy::{UdpListener, UdpProxyListener};

/// A listener as built on this worker, before it is active.
pub(super) struct BuiltUdp {
    proxy: Rc<UdpProxyListener>,
    /// The worker's own socket, for a listener that is new here.
    socket: Option<std::net::UdpSocket>,
}

impl Worker {
    pub(super) fn build_udp(
        self: &Rc<Self>,
        snapshot: &Snapshot,
    ) -> Result<HashMap<String, BuiltUdp>, String> {
        let mut built = HashMap::new();
        for (name, prepared) in &snapshot.udp_listeners {
            let known = self.udp_listeners.borrow().get(name).map(Rc::clone);
            let before = known.as_ref().map(|known| known.proxy());
            let logs = before
                .as_ref()
                .map_or(&[][..], |before| &before.access_logs);
            let proxy = UdpProxyListener {
                options: prepared.options.clone(),
                access_logs: self.build_access_logs(&prepared.access_logs, logs)?,
            };
            let socket = if known.is_some() && !prepared.rebound {
                None
            } else {
                let socket = prepared.sockets.of_worker(self.index).map_err(|error| {
                    format!(
                        "worker {}: the socket of listener `{name}` could not be taken over: {error}",
                        self.index
                    )
                })?;
                Some(socket)
            };
            let proxy = Rc::new(proxy);
            built.insert(name.clone(), BuiltUdp { proxy, socket });
        }
        Ok(built)
    }

    pub(super) fn commit_udp(
        self: &Rc<Self>,
        snapshot: &Snapshot,
        built: HashMap<String, BuiltUdp>,
    ) {
        let mut listeners = self.udp_listeners.borrow_mut();
        listeners.retain(|name, listener| {
            let stays = built.contains_key(name);
            if !stays {
                listener.drain();
                retire_access_logs(&listener.proxy().access_logs, &[]);
            }
            stays
        });
        for (name, BuiltUdp { proxy, socket }) in built {
            let Some(prepared) = snapshot.udp_listeners.get(&name) else {
                continue;
            };
            let known = listeners.get(&name);
            if let Some(known) = known {
                retire_access_logs(&known.proxy().access_logs, &proxy.access_logs);
            }
            match (socket, known) {
                (None, Some(listener)) => drop(listener.replace(proxy, prepared.limits.clone())),
                (None, None) => {}
                (Some(socket), known) => {
                    // Sessions of a listener that moved to another address go on until they are quiet.
                    if let Some(known) = known {
                        known.drain();
                    }
                    match UdpListener::new(&name, proxy, prepared.limits.clone(), socket) {
                        Ok(listener) => {
                            let listener = Rc::new(listener);
                            tokio::task::spawn_local(Rc::clone(&listener).serve(Rc::clone(self)));
                            listeners.insert(name, listener);
                        }
                        // The control side has bound it: only the event loop can refuse, when no descriptor is left.
                        Err(error) => {
                            tracing::error!(listener = name, %error, "datagrams cannot be read");
                        }
                    }
                }
            }
        }
    }

    pub(super) fn drain_udp(&self) {
        let listeners: Vec<_> = self
            .udp_listeners
            .borrow()
            .values()
            .map(Rc::clone)
            .collect();
        for listener in listeners {
            listener.drain();
        }
    }
}
