//! `tcp_proxy`: joins a client's connection with one to a host of a cluster, byte for byte.

use std::borrow::Cow;
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use transom_api::network::CHOSEN_CLUSTER;
use transom_api::{Counter, Gauge, Histogram};

use super::NetworkPlace;
use super::record::SessionRecord;
use super::relay::{Broken, Relay};
use super::targets::Targets;
use crate::cluster::{
    Active, ConnectError, Slot, UpstreamConnection, WorkerCluster, WorkerHost, connect,
};
use crate::error::Flags;
use crate::http::limit;
use crate::io::Io;
use crate::listener::ConnectionSlot;
use crate::stream::chain::AccessLogPlace;
use crate::stream::info::ConnectionInfo;
use crate::timer::Timer;
use crate::worker::Worker;

/// The `tcp_proxy` of a listener, as one worker holds it.
pub(crate) struct TcpProxyListener {
    pub(crate) options: TcpProxyOptions,
    pub(crate) access_logs: Vec<Rc<AccessLogPlace>>,
}

/// The `tcp_proxy` of a listener.
#[derive(Clone, Debug)]
pub(crate) struct TcpProxyOptions {
    pub(crate) targets: Targets,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_duration: Option<Duration>,
    pub(crate) connect_attempts: u32,
    pub(crate) metrics: TcpProxyMetrics,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpProxyMetrics {
    /// Connections that ended without a host.
    pub(crate) unavailable: Counter,
    /// Connections that no route, or no cluster, takes.
    pub(crate) no_cluster: Counter,
    /// Connections that are joined with a host now.
    pub(crate) joined: Gauge,
    pub(crate) connect_failures: Counter,
    pub(crate) connect_time: Histogram,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) idle_timeouts: Counter,
    pub(crate) duration_limits: Counter,
    /// By whom a connection was broken off: the client, or the host.
    pub(crate) broken: [Counter; 2],
}

/// A client's connection that is to be joined with a host.
pub(crate) struct Joining {
    pub(crate) client: Io,
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<TcpProxyListener>,
    pub(crate) places: Rc<[Rc<NetworkPlace>]>,
    pub(crate) info: Rc<ConnectionInfo>,
    pub(crate) slot: ConnectionSlot,
}

/// Serves a connection until both directions have ended, or its time is over.
pub(crate) async fn serve(joining: Joining) {
    let Joining {
        mut client,
        worker,
        listener,
        places,
        info,
        slot,
    } = joining;
    let mut record = SessionRecord::new(&worker, info);
    let options = &listener.options;
    let flags = relay(&mut client, &worker, options, &places, &mut record).await;
    record.info.flags.add(flags);
    record.info.metadata = client.take_metadata();
    // The filters of the chain have their end before the record is written.
    drop(client);
    record.write(&listener.access_logs);
    drop(slot);
}

/// Joins the client with a host. Says what was out of the ordinary.
async fn relay(
    client: &mut Io,
    worker: &Rc<Worker>,
    options: &TcpProxyOptions,
    places: &[Rc<NetworkPlace>],
    record: &mut SessionRecord,
) -> Flags {
    let metrics = options.metrics;
    let began = record.info.start;
    let begun = std::future::poll_fn(|cx| client.poll_begun(cx));
    if begun.await.is_err() {
        // A filter closed it, or the client went.
        return Flags::DOWNSTREAM_CONNECTION_TERMINATION;
    }
    let cluster = match choose_cluster(worker, options, places, &record.connection) {
        Ok(cluster) => cluster,
        Err(flags) => {
            worker.shard.add(metrics.no_cluster.0, 1);
            return flags;
        }
    };
    record.info.cluster = Some(Rc::clone(&cluster.name));
    let connection = Rc::clone(&record.connection);
    let mut up = Relay::default();
    let tried = RefCell::default();
    let (mut host, _place) = {
        let mut connecting = pin!(connect_host(worker, &cluster, options, &connection, &tried));
        let connected = std::future::poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                return Poll::Ready(connected);
            }
            // One that is gone needs no host.
            let gone = up.poll_early(cx, client, &worker.buffers);
            gone.map(|_| Err(Flags::DOWNSTREAM_CONNECTION_TERMINATION))
        });
        match connected.await {
            Ok((io, place)) => {
                record.info.upstream_connection = Some(Rc::clone(&place.facts));
                record.info.upstream = Some(Rc::clone(place.active.host()));
                record.info.attempts = tried.take().count;
                (io, place)
            }
            Err(flags) => {
                worker.shard.add(metrics.unavailable.0, 1);
                let tried = tried.take();
                record.info.upstream = tried.last;
                record.info.upstream_failure = tried.failure.map(Cow::Borrowed);
                record.info.attempts = tried.count;
                return flags;
            }
        }
    };
    worker.shard.add(metrics.joined.0, 1);
    let mut down = Relay::default();
    let (mut told_up, mut told_down) = (0, 0);
    let mut timer = Timer::new(&worker.timers);
    let mut active = worker.now();
    let last = options
        .max_duration
        .and_then(|limit| began.checked_add(limit));
    let flags = std::future::poll_fn(|cx| {
        let moved_up = up.poll(cx, client, &mut host, &worker.buffers);
        let moved_down = down.poll(cx, &mut host, client, &worker.buffers);
        if up.moved != told_up || down.moved != told_down {
            active = worker.now();
            tell(worker, metrics.received, up.moved - told_up);
            tell(worker, metrics.sent, down.moved - told_down);
            (told_up, told_down) = (up.moved, down.moved);
        }
        match (moved_up, moved_down) {
            (Poll::Ready(Err(broken)), _) => {
                return Poll::Ready(broke(worker, options, broken, true));
            }
            (_, Poll::Ready(Err(broken))) => {
                return Poll::Ready(broke(worker, options, broken, false));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Flags::default()),
            _ => {}
        }
        loop {
            let idle = limit(options.idle_timeout).and_then(|idle| active.checked_add(idle));
            let Some(deadline) = earlier(idle, last) else {
                return Poll::Pending;
            };
            let now = ready!(timer.poll(cx, deadline));
            if last.is_some_and(|last| now >= last) {
                worker.shard.add(metrics.duration_limits.0, 1);
                return Poll::Ready(Flags::DURATION_TIMEOUT);
            }
            if idle.is_some_and(|idle| now >= idle) {
                worker.shard.add(metrics.idle_timeouts.0, 1);
                return Poll::Ready(Flags::STREAM_IDLE_TIMEOUT);
            }
        }
    })
    .await;
    worker.shard.add(metrics.joined.0, -1);
    record.info.request_bytes = up.moved;
    record.info.response_bytes = down.moved;
    flags
}

/// The cluster that a filter of the chain chose, or the one for these addresses.
fn choose_cluster(
    worker: &Worker,
    options: &TcpProxyOptions,
    places: &[Rc<NetworkPlace>],
    info: &ConnectionInfo,
) -> Result<Rc<WorkerCluster>, Flags> {
    let state = info.state();
    let chosen = state
        .as_ref()
        .and_then(|state| state.get::<String>(CHOSEN_CLUSTER));
    let Some(chosen) = chosen else {
        let cluster = options
            .targets
            .pick(info.source, info.destination, || worker.random())
            .ok_or(Flags::NO_ROUTE)?;
        return worker.cluster(cluster).ok_or(Flags::NO_CLUSTER);
    };
    if !places.iter().any(|place| place.clusters.allow(chosen)) {
        tracing::warn!(
            cluster = chosen,
            "a network filter chose a cluster that it has not declared"
        );
        return Err(Flags::NO_CLUSTER);
    }
    worker.cluster_named(chosen).ok_or(Flags::NO_CLUSTER)
}

/// What a relayed connection has of its host's and its cluster's numbers, for as long as it lasts.
struct Place {
    active: Active,
    facts: Rc<UpstreamConnection>,
    _slot: Slot,
}

/// What was tried for a connection.
#[derive(Default)]
struct Tried {
    count: u32,
    /// The last host.
    last: Option<Rc<WorkerHost>>,
    /// Why TLS failed.
    failure: Option<&'static str>,
}

/// Connects a host; one that cannot be connected is passed over, `connect_attempts` times at the most.
async fn connect_host(
    worker: &Rc<Worker>,
    cluster: &WorkerCluster,
    options: &TcpProxyOptions,
    client: &Rc<ConnectionInfo>,
    told: &RefCell<Tried>,
) -> Result<(Io, Place), Flags> {
    let metrics = options.metrics;
    let mut tried = Vec::new();
    for _ in 0..options.connect_attempts.max(1) {
        let Some(host) = cluster.pick_for(client, &tried) else {
            return Err(Flags::NO_HEALTHY_UPSTREAM);
        };
        {
            let mut told = told.borrow_mut();
            told.count += 1;
            told.last = Some(Rc::clone(&host));
        }
        let began = Instant::now();
        let active = Active::relay(&host);
        let connected = match host.identity(None, Some(client)) {
            Ok(identity) => connect(&host, worker, identity).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok((connected, slot)) => {
                worker
                    .shard
                    .observe(metrics.connect_time.0, began.elapsed());
                let place = Place {
                    active,
                    facts: Rc::clone(&connected.facts),
                    _slot: slot,
                };
                return Ok((connected.io, place));
            }
            // More load is no remedy for too much of it.
            Err(ConnectError::Overflow) => return Err(Flags::UPSTREAM_OVERFLOW),
            Err(error) => {
                worker.shard.add(metrics.connect_failures.0, 1);
                if let ConnectError::Tls(error) = &error {
                    told.borrow_mut().failure = Some(error.0);
                }
                tracing::debug!(
                    host = host.host.text,
                    %error,
                    "a host could not be connected"
                );
            }
        }
        tried.push(host);
    }
    Err(Flags::UPSTREAM_CONNECTION_FAILURE)
}

/// A peer that goes away is the usual end of a connection: it is counted, not logged.
fn broke(worker: &Worker, options: &TcpProxyOptions, broken: Broken, is_up: bool) -> Flags {
    let (error, by_client) = match broken {
        Broken::From(error) => (error, is_up),
        Broken::To(error) => (error, !is_up),
    };
    tracing::trace!(%error, by_client, "a relayed connection broke off");
    let [client, host] = options.metrics.broken;
    if by_client {
        worker.shard.add(client.0, 1);
        Flags::DOWNSTREAM_CONNECTION_TERMINATION
    } else {
        worker.shard.add(host.0, 1);
        Flags::UPSTREAM_CONNECTION_TERMINATION
    }
}

fn tell(worker: &Worker, counter: Counter, bytes: u64) {
    if bytes > 0 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        worker.shard.add(counter.0, bytes);
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
