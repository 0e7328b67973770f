//! Building a snapshot's worker part, and making it the active one.
//!
//! What a piece was built from is known by the address of its shared, prepared form: what is the same in the new snapshot
//! is taken over as it is, with its state. One piece is built per turn of the loop.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use transom_api::{AccessLogConfig, BuildError, StreamFilterConfig};

use transom_config::ListenAddress;

use super::udp::BuiltUdp;
use super::{Part, Worker, until_last};
use crate::cluster::{AllowedClusters, WorkerCluster};
use crate::control::generations::{Change, PlaceStatus};
use crate::control::snapshot::{
    PreparedChain, PreparedHttp, PreparedListener, PreparedTerminal, PreparedUse, Snapshot,
    split_place,
};
use crate::gate::Gate;
use crate::http::HttpListener;
use crate::listener::limits::Admission;
use crate::listener::{Chains, ListenerLogs, ListenerPlace, WorkerChain, WorkerListener};
use crate::network::tcp_proxy::TcpProxyListener;
use crate::network::{Network, NetworkPlace, Terminal};
use crate::router::Routes;
use crate::stream::chain::{AccessLogPlace, Chain, Generation, Place};

/// Longer than a connection is on its way from one worker to another.
const UNTIL_FORGOTTEN: Duration = Duration::from_secs(1);

/// A snapshot as built on this worker, before it is active.
pub(crate) struct Built {
    snapshot: Arc<Snapshot>,
    listeners: HashMap<String, BuiltListener>,
    udp: HashMap<String, BuiltUdp>,
}

struct BuiltListener {
    listener_filters: Vec<Rc<ListenerPlace>>,
    access_logs: ListenerLogs,
    /// In the order of the prepared listener's chains.
    networks: Vec<Rc<Network>>,
    /// The worker's own socket, for a listener that is new here.
    socket: Option<OwnedFd>,
    /// It is new here, or has moved to another address.
    is_new: bool,
}

impl Worker {
    /// Builds what the snapshot needs that the active one does not have.
    pub(super) async fn build(self: &Rc<Self>, snapshot: Arc<Snapshot>) -> Result<(), String> {
        let mut listeners = HashMap::new();
        for (name, listener) in &snapshot.listeners {
            let known = self.listeners.borrow().get(name).map(Rc::clone);
            let before = known.as_ref().map(|known| known.chains());
            let listener_filters = self.build_listener_filters(listener, before.as_deref())?;
            let known_logs = before
                .as_ref()
                .map_or(&[][..], |before| &before.access_logs);
            let access_logs = self.build_access_logs(&listener.access_logs, known_logs)?;
            let mut networks = Vec::with_capacity(listener.chains.len());
            for chain in &listener.chains {
                let before = before
                    .as_ref()
                    .and_then(|before| before.named(&chain.name))
                    .map(|chain| chain.network());
                networks.push(self.build_network(chain, before.as_deref()).await?);
                tokio::task::yield_now().await;
            }
            let same_socket = known.is_some() && !listener.rebound;
            let socket = if same_socket {
                None
            } else {
                self.open_socket(listener)?
            };
            let built = BuiltListener {
                listener_filters,
                access_logs: access_logs.into(),
                networks,
                socket,
                is_new: !same_socket,
            };
            listeners.insert(name.clone(), built);
            tokio::task::yield_now().await;
        }
        self.pending.borrow_mut().insert(
            snapshot.version,
            Built {
                udp: self.build_udp(&snapshot)?,
                snapshot,
                listeners,
            },
        );
        Ok(())
    }

    /// Makes a built snapshot the active one.
    pub(super) fn commit(self: &Rc<Self>, version: u64) {
        let Some(built) = self.pending.borrow_mut().remove(&version) else {
            return;
        };
        self.commit_clusters(&built.snapshot);
        let mut listeners = self.listeners.borrow_mut();
        let gone: Vec<String> = listeners
            .keys()
            .filter(|name| !built.snapshot.listeners.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(listener) = listeners.remove(&name) {
                listener.drain();
                retire(&listener.chains(), None);
                self.remember(&listener);
            }
        }
        for (name, mut built_listener) in built.listeners {
            let Some(prepared) = built.snapshot.listeners.get(&name) else {
                continue;
            };
            let known = listeners.get(&name);
            let before = known.map(|known| known.chains());
            if let Some(before) = &before {
                retire(before, Some((prepared, &built_listener)));
            }
            match known {
                Some(listener) if !built_listener.is_new => {
                    let chains = built_listener.chains(prepared, before.as_deref());
                    listener.replace(&chains, prepared.limits.clone());
                }
                known => {
                    // A listener that moved to another address serves its old connections to their end.
                    if let Some(known) = known {
                        known.drain();
                        self.remember(known);
                    }
                    let socket = built_listener.socket.take();
                    let chains = built_listener.chains(prepared, None);
                    let listener = Rc::new(WorkerListener::new(
                        &name,
                        prepared.address(),
                        chains,
                        prepared.limits.clone(),
                    ));
                    if let Some(socket) = socket {
                        let accepting = Rc::clone(&listener).accept(Rc::clone(self), socket);
                        tokio::task::spawn_local(accepting);
                    }
                    listeners.insert(name, listener);
                }
            }
        }
        drop(listeners);
        self.commit_udp(&built.snapshot, built.udp);
        self.drop_spare_streams();
    }

    pub(super) fn discard(&self, version: u64) {
        let built = self.pending.borrow_mut().remove(&version);
        drop(built);
    }

    fn commit_clusters(&self, snapshot: &Snapshot) {
        let mut clusters = self.clusters.borrow_mut();
        let mut next: Vec<Option<Rc<WorkerCluster>>> = Vec::new();
        for prepared in snapshot.clusters.values() {
            let index = prepared.id.0 as usize;
            if next.len() <= index {
                next.resize(index + 1, None);
            }
            let before = clusters.get(index).and_then(Option::as_ref);
            let cluster = match before {
                Some(before) if Arc::ptr_eq(&before.prepared, prepared) => Rc::clone(before),
                before => Rc::new(WorkerCluster::new(
                    Arc::clone(prepared),
                    self.index,
                    before.map(|before| &**before),
                )),
            };
            if let Some(slot) = next.get_mut(index) {
                *slot = Some(cluster);
            }
        }
        let old = std::mem::replace(&mut *clusters, next);
        drop(clusters);
        drop(old);
    }

    /// The worker's own socket of a listener; `None` where the control side accepts.
    fn open_socket(&self, listener: &PreparedListener) -> Result<Option<OwnedFd>, String> {
        listener.sockets.of_worker(self.index).map_err(|error| {
            format!(
                "worker {}: the socket of listener `{}` could not be taken over: {error}",
                self.index, listener.config.name
            )
        })
    }

    /// Keeps a listener that goes for connections that another worker has accepted for it just now.
    fn remember(self: &Rc<Self>, listener: &Rc<WorkerListener>) {
        if self.count == 1 || !listener.shares_connections() {
            return;
        }
        self.departed.borrow_mut().push_back(Rc::clone(listener));
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(UNTIL_FORGOTTEN).await;
            // They go in the order in which they came.
            let listener = worker.departed.borrow_mut().pop_front();
            drop(listener);
        });
    }

    /// Serves a connection that was accepted elsewhere.
    pub(super) fn take_over(
        self: &Rc<Self>,
        address: &ListenAddress,
        socket: OwnedFd,
        admission: Admission,
    ) {
        let is_there = |listener: &WorkerListener| listener.address() == address;
        let departed = || {
            let departed = self.departed.borrow();
            departed.iter().find(|it| is_there(it)).map(Rc::clone)
        };
        match self.find_listener(is_there).or_else(departed) {
            Some(listener) => listener.take_over(self, socket, admission),
            None => tracing::warn!(%address, "a connection came for a listener that is gone"),
        }
    }

    fn build_listener_filters(
        self: &Rc<Self>,
        listener: &PreparedListener,
        before: Option<&Chains>,
    ) -> Result<Vec<Rc<ListenerPlace>>, String> {
        let mut listener_filters = Vec::with_capacity(listener.listener_filters.len());
        for prepared in &listener.listener_filters {
            let known = before.and_then(|before| {
                before.listener_filters.iter().find(|place| {
                    Arc::ptr_eq(&place.config, &prepared.config) && place.policy == prepared.policy
                })
            });
            if let Some(known) = known {
                listener_filters.push(Rc::clone(known));
                continue;
            }
            let part = Part::build(self, &prepared.clusters, |view| {
                prepared.config.on_worker(view)
            })
            .map_err(|error| self.refused(&prepared.name, &error))?;
            listener_filters.push(Rc::new(ListenerPlace {
                name: Rc::from(prepared.name.as_str()),
                policy: prepared.policy,
                config: Arc::clone(&prepared.config),
                part,
            }));
        }
        Ok(listener_filters)
    }

    async fn build_network(
        self: &Rc<Self>,
        chain: &PreparedChain,
        before: Option<&Network>,
    ) -> Result<Rc<Network>, String> {
        let mut filters = Vec::with_capacity(chain.network_filters.len());
        for prepared in &chain.network_filters {
            let known = before.and_then(|before| {
                before.filters.iter().find(|place| {
                    Arc::ptr_eq(&place.config, &prepared.config)
                        && place.policy == prepared.policy
                        && same_gate(place.gate.as_ref(), prepared)
                        && place.clusters == prepared.clusters
                })
            });
            if let Some(known) = known {
                filters.push(Rc::clone(known));
                continue;
            }
            let part = Part::build(self, &prepared.clusters, |view| {
                prepared.config.on_worker(view)
            })
            .map_err(|error| self.refused(&prepared.name, &error))?;
            filters.push(Rc::new(NetworkPlace {
                name: Rc::from(prepared.name.as_str()),
                policy: prepared.policy,
                gate: prepared.gate.as_ref().map(Gate::new),
                clusters: prepared.clusters.clone(),
                config: Arc::clone(&prepared.config),
                part,
            }));
            tokio::task::yield_now().await;
        }
        let terminal = match &chain.terminal {
            PreparedTerminal::Http(http) => {
                let before = match before.map(|before| &before.terminal) {
                    Some(Terminal::Http(before)) => Some(&**before),
                    _ => None,
                };
                Terminal::Http(Rc::new(self.build_http(http, before).await?))
            }
            PreparedTerminal::TcpProxy(proxy) => {
                let known = before.map_or(&[][..], |before| before.terminal.access_logs());
                Terminal::TcpProxy(Rc::new(TcpProxyListener {
                    options: proxy.options.clone(),
                    access_logs: self.build_access_logs(&proxy.access_logs, known)?,
                }))
            }
            PreparedTerminal::Filters => Terminal::Filters,
        };
        Ok(Rc::new(Network {
            tls: chain.tls.clone(),
            filters: filters.into(),
            terminal,
        }))
    }

    async fn build_http(
        self: &Rc<Self>,
        http: &PreparedHttp,
        before: Option<&HttpListener>,
    ) -> Result<HttpListener, String> {
        let mut places = Vec::with_capacity(http.uses.len());
        for prepared in &http.uses {
            let known = before.and_then(|before| {
                before
                    .chain
                    .places
                    .iter()
                    .find(|place| *place.name == *prepared.name)
            });
            places.push(self.build_place(prepared, known)?);
            tokio::task::yield_now().await;
        }
        let known = before.map_or(&[][..], |before| &before.chain.access_logs);
        let access_logs = self.build_access_logs(&http.access_logs, known)?;
        Ok(HttpListener {
            chain: Rc::new(Chain::new(places, access_logs, http.reverse_responses)),
            table: Rc::new(Routes::new(&http.table)),
            options: Rc::new(http.options()),
            protocol: http.protocol.as_ref().map(|used| Arc::clone(&used.config)),
            local_reply: http.local_reply,
            paths: http.paths,
            forward_client_certificate: http.forward_client_certificate,
            hop: Arc::clone(&http.hop),
            watermark: http.watermark,
        })
    }

    pub(super) fn build_access_logs(
        self: &Rc<Self>,
        logs: &[PreparedUse<dyn AccessLogConfig>],
        known: &[Rc<AccessLogPlace>],
    ) -> Result<Vec<Rc<AccessLogPlace>>, String> {
        let mut places = Vec::with_capacity(logs.len());
        for prepared in logs {
            let known = known.iter().find(|log| {
                Arc::ptr_eq(&log.config, &prepared.config) && same_gate(log.gate.as_ref(), prepared)
            });
            if let Some(known) = known {
                places.push(Rc::clone(known));
                continue;
            }
            let part = Part::build(self, &prepared.clusters, |view| {
                prepared.config.on_worker(view)
            })
            .map_err(|error| self.refused(&prepared.name, &error))?;
            places.push(Rc::new(AccessLogPlace {
                gate: prepared.gate.as_ref().map(Gate::new),
                config: Arc::clone(&prepared.config),
                part,
            }));
        }
        Ok(places)
    }

    /// The place of a use: the known one, with all its generations, when nothing of the use has changed.
    fn build_place(
        self: &Rc<Self>,
        prepared: &PreparedUse<dyn StreamFilterConfig>,
        known: Option<&Rc<Place>>,
    ) -> Result<Rc<Place>, String> {
        let known_generation = known.and_then(|place| {
            let generations = place.generations();
            generations
                .into_iter()
                .find(|generation| Arc::ptr_eq(&generation.config, &prepared.config))
        });
        if let (Some(place), Some(_)) = (known, &known_generation)
            && place.phase == prepared.phase
            && place.policy == prepared.policy
            && same_gate(place.gate.as_ref(), prepared)
            && place.clusters == prepared.clusters
        {
            return Ok(Rc::clone(place));
        }
        let generation = match known_generation {
            Some(generation) => generation,
            None => Rc::new(self.build_generation(
                prepared.generation,
                &prepared.name,
                &prepared.config,
                &prepared.clusters,
            )?),
        };
        Ok(Rc::new(Place::new(
            &prepared.name,
            prepared.phase,
            prepared.policy,
            prepared.gate.as_ref().map(Gate::new),
            prepared.clusters.clone(),
            vec![generation],
        )))
    }

    fn build_generation(
        self: &Rc<Self>,
        id: u64,
        name: &str,
        config: &Arc<dyn StreamFilterConfig>,
        clusters: &AllowedClusters,
    ) -> Result<Generation, String> {
        let part = Part::build(self, clusters, |view| config.on_worker(view))
            .map_err(|error| self.refused(name, &error))?;
        Ok(Generation::new(
            id,
            Arc::clone(config),
            clusters.clone(),
            part,
        ))
    }

    fn refused(&self, name: &str, error: &BuildError) -> String {
        format!(
            "worker {}: the filter `{name}` could not be built: {error}",
            self.index
        )
    }

    /// Changes the generations of a place; answers how it stands then.
    pub(super) async fn change_generations(
        self: &Rc<Self>,
        change: Change,
    ) -> Result<PlaceStatus, String> {
        let listener = self.listeners.borrow().get(&change.listener).map(Rc::clone);
        let (chain, filter) = split_place(&change.filter);
        let place = listener
            .and_then(|listener| {
                let chains = listener.chains();
                let mut chains = chains
                    .all()
                    .filter(|it| chain.is_none_or(|chain| *it.name == *chain));
                chains.find_map(|chain| {
                    let http = chain.http()?;
                    let mut places = http.chain.places.iter();
                    places.find(|place| *place.name == *filter).map(Rc::clone)
                })
            })
            .ok_or_else(|| {
                format!(
                    "listener `{}` has no stream filter `{}`",
                    change.listener, change.filter
                )
            })?;
        change.carry_out(&place, |id, config| {
            self.build_generation(id, &change.filter, config, &place.clusters)
        })
    }
}

impl BuiltListener {
    /// The chains of a listener. Those of `before` stay the same objects, so that their connections find what is new.
    fn chains(self, prepared: &PreparedListener, before: Option<&Chains>) -> Rc<Chains> {
        let mut chains = Vec::with_capacity(self.networks.len());
        for (prepared, network) in prepared.chains.iter().zip(self.networks) {
            let known = before.and_then(|before| before.named(&prepared.name));
            match known {
                Some(known) => {
                    known.replace(network);
                    chains.push(Rc::clone(known));
                }
                None => chains.push(Rc::new(WorkerChain::new(&prepared.name, network))),
            }
        }
        let has_default = chains.len() > prepared.config.filter_chains.len();
        Rc::new(Chains {
            listener_filters: self.listener_filters,
            access_logs: self.access_logs,
            timeout: prepared.config.listener_filters_timeout,
            on_timeout: prepared.config.on_listener_filters_timeout,
            index: Arc::clone(&prepared.index),
            default: if has_default { chains.pop() } else { None },
            chains,
        })
    }

    fn network(&self, prepared: &PreparedListener, name: &str) -> Option<&Network> {
        let mut chains = prepared.chains.iter().zip(&self.networks);
        let found = chains.find(|(chain, _)| chain.name == name);
        found.map(|(_, network)| &**network)
    }
}

/// Whether a place has the gate that its use has now.
fn same_gate<C: ?Sized>(gate: Option<&Gate>, prepared: &PreparedUse<C>) -> bool {
    match (gate, &prepared.gate) {
        (Some(gate), Some(prepared)) => Arc::ptr_eq(&gate.prepared, prepared),
        (None, None) => true,
        _ => false,
    }
}

/// Ends what the listener `old` has and the one built after it has not.
fn retire(old: &Chains, new: Option<(&PreparedListener, &BuiltListener)>) {
    let kept = new.map_or(&[][..], |(_, new)| &new.listener_filters);
    retire_others(&old.listener_filters, kept, async |place| {
        place.part.drain().await;
    });
    let kept = new.map_or(&[][..], |(_, new)| &new.access_logs);
    retire_others(&old.access_logs, kept, async |log| log.part.drain().await);
    for chain in old.all() {
        let new = new.and_then(|(prepared, new)| new.network(prepared, &chain.name));
        retire_network(&chain.network(), new);
    }
}

/// Ends what the network `old` has and `new` has not: each part when the last stream or connection has let go of it, with
/// the time that it asks for, and between turns.
fn retire_network(old: &Network, new: Option<&Network>) {
    let kept = new.map_or(&[][..], |new| &new.filters);
    retire_others(&old.filters, kept, async |place| place.part.drain().await);
    let kept = new.map_or(&[][..], |new| new.terminal.access_logs());
    retire_access_logs(old.terminal.access_logs(), kept);
    let Terminal::Http(old) = &old.terminal else {
        return;
    };
    let new = match new.map(|new| &new.terminal) {
        Some(Terminal::Http(new)) => Some(&new.chain),
        _ => None,
    };
    let kept: Vec<Rc<Generation>> = new
        .into_iter()
        .flat_map(|new| &new.places)
        .flat_map(|place| place.generations())
        .collect();
    for generation in old
        .chain
        .places
        .iter()
        .flat_map(|place| place.generations())
    {
        if !kept.iter().any(|kept| Rc::ptr_eq(kept, &generation)) {
            retire_generation(generation);
        }
    }
}

/// Ends those access logs of `old` that are not `kept`.
pub(super) fn retire_access_logs(old: &[Rc<AccessLogPlace>], kept: &[Rc<AccessLogPlace>]) {
    retire_others(old, kept, async |log| log.part.drain().await);
}

/// Ends those of `old` that are not `kept`.
fn retire_others<T: 'static>(
    old: &[Rc<T>],
    kept: &[Rc<T>],
    drain: impl AsyncFn(&T) + Copy + 'static,
) {
    for object in old {
        if !kept.iter().any(|kept| Rc::ptr_eq(kept, object)) {
            let object = Rc::clone(object);
            tokio::task::spawn_local(async move {
                until_last(&object).await;
                drain(&object).await;
                drop_quietly(object);
            });
        }
    }
}

/// Ends a generation when its last stream has let go of it.
pub(crate) fn retire_generation(generation: Rc<Generation>) {
    tokio::task::spawn_local(async move {
        until_last(&generation).await;
        if let Some(part) = generation.replace_part(None) {
            part.drain().await;
            drop_quietly(part);
        }
    });
}

/// Drops an extension's object; if it panics, the worker goes on.
fn drop_quietly<T>(object: T) {
    if catch_unwind(AssertUnwindSafe(|| drop(object))).is_err() {
        tracing::error!("a filter's worker part panicked while it was dropped");
    }
}
