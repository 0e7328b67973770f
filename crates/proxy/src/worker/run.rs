//! A worker's thread.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};
use transom_api::{Counter, Event, Histogram, SharedData};

use super::Worker;
use super::inbox::{Command, WorkerInbox};
use crate::cluster::{ClusterState, Host};
use crate::metrics::MetricStore;
use crate::timer;

/// What the control side keeps of a worker.
pub(crate) struct WorkerHandle {
    pub(crate) inbox: Arc<WorkerInbox>,
    thread: Option<JoinHandle<()>>,
}

/// What a worker is given at its start.
pub(crate) struct WorkerSettings {
    pub(crate) index: usize,
    pub(crate) count: usize,
    pub(crate) metrics: Arc<MetricStore>,
    pub(crate) shared: SharedData,
    pub(crate) filter_failures: Counter,
    /// How long turns of the loop take.
    pub(crate) turns: Histogram,
}

/// Idle connections are looked through this often.
const SWEEP: Duration = Duration::from_secs(5);
/// And at most so many per host at once, so that a turn stays short.
const SWEEP_MOST: usize = 256;

thread_local! {
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// When this turn of the thread's event loop began.
pub(super) fn turn_began() -> Instant {
    TURN.get().unwrap_or_else(Instant::now)
}

/// Starts a worker's thread.
pub(crate) fn spawn(settings: WorkerSettings) -> io::Result<WorkerHandle> {
    let (inbox, receiver) = WorkerInbox::new();
    let handle = Arc::clone(&inbox);
    let turns = settings.turns;
    let shard = settings.metrics.shard(settings.index);
    let mut builder = Builder::new_current_thread();
    builder
        .enable_all()
        .on_thread_unpark(|| TURN.set(Some(Instant::now())))
        .on_thread_park(move || {
            // From unpark to park is one turn: all that was ready, once.
            if let Some(began) = TURN.get() {
                shard.observe(turns.0, began.elapsed());
            }
        });
    let thread = std::thread::Builder::new()
        .name(format!("worker-{}", settings.index))
        .spawn(move || match builder.build_local(LocalOptions::default()) {
            Ok(runtime) => runtime.block_on(run(settings, inbox, receiver)),
            Err(error) => tracing::error!(%error, "a worker's event loop could not be made"),
        })?;
    Ok(WorkerHandle {
        inbox: handle,
        thread: Some(thread),
    })
}

/// How long access logs may take for what they have gathered, when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(3);

async fn run(
    settings: WorkerSettings,
    inbox: Arc<WorkerInbox>,
    mut receiver: mpsc::UnboundedReceiver<Command>,
) {
    let worker = Rc::new(Worker::new(
        settings.index,
        settings.count,
        settings.metrics,
        settings.shared,
        inbox,
        settings.filter_failures,
    ));
    let sweeper = Rc::clone(&worker);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(SWEEP).await;
            sweeper.sweep_pools().await;
            sweeper.trim();
        }
    });
    let timers = Rc::clone(&worker.timers);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(timer::LOOK).await;
            timers.wake_near();
        }
    });
    let logs_ended = Rc::new(Notify::new());
    loop {
        let command = tokio::select! {
            command = receiver.recv() => command,
            () = logs_ended.notified() => None,
        };
        let Some(command) = command else {
            worker.let_go();
            return;
        };
        match command {
            Command::Post(to, message) => worker.mailboxes.deliver(to, Event::Resumed(message)),
            Command::Build { snapshot, done } => {
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    // A control side that no longer waits has given up on this snapshot.
                    let _ = done.send(worker.build(snapshot).await);
                });
            }
            Command::Commit { version, done } => {
                worker.commit(version);
                let _ = done.send(());
            }
            Command::Discard { version } => worker.discard(version),
            Command::Generations { change, done } => {
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    let _ = done.send(worker.change_generations(change).await);
                });
            }
            Command::Room(state) => {
                if !worker.waiters.wake(&state) && !state.waits_on(worker.index) {
                    // Who waited here has gone: the room is another's.
                    state.tell_room();
                }
            }
            Command::MakeRoom(state, host) => {
                worker.make_room(&state, &host);
            }
            Command::Connection {
                listener,
                socket,
                admission,
            } => worker.take_over(&listener, socket, admission),
            Command::Drain { done } => {
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    worker.drain().await;
                    let _ = done.send(());
                });
            }
            // Goes on with what comes meanwhile: a log's last word may be told of by mail.
            Command::Stop => {
                let (worker, ended) = (Rc::clone(&worker), Rc::clone(&logs_ended));
                tokio::task::spawn_local(async move {
                    worker.end_logs().await;
                    ended.notify_one();
                });
            }
        }
    }
}

impl Worker {
    /// Closes an idle connection of a cluster: one to this host if there is one, else one to the host that has most. False
    /// when none is idle.
    pub(crate) fn make_room(&self, state: &Arc<ClusterState>, to: &Arc<Host>) -> bool {
        let clusters = self.clusters.borrow();
        let cluster = clusters
            .iter()
            .flatten()
            .find(|cluster| Arc::ptr_eq(&cluster.prepared.state, state));
        let Some(hosts) = cluster.map(|cluster| cluster.all_hosts()) else {
            return false;
        };
        let first = hosts.iter().find(|host| Arc::ptr_eq(&host.host, to));
        first.is_some_and(|host| host.close_oldest())
            || hosts
                .iter()
                .max_by_key(|host| host.idle())
                .is_some_and(|host| host.close_oldest())
    }

    async fn sweep_pools(&self) {
        let clusters: Vec<_> = self
            .clusters
            .borrow()
            .iter()
            .flatten()
            .map(Rc::clone)
            .collect();
        for cluster in clusters {
            for host in cluster.all_hosts() {
                if host.idle() > 0 {
                    host.sweep(self.now(), SWEEP_MOST);
                    tokio::task::yield_now().await;
                }
            }
            cluster.forget_unused();
        }
    }

    /// Has access logs send what they have gathered. A reload does it when they go; the end of the process is no reload.
    async fn end_logs(&self) {
        let mut logs = Vec::new();
        for listener in self.listeners.borrow().values() {
            let chains = listener.chains();
            logs.extend(chains.access_logs.iter().map(Rc::clone));
            for chain in chains.all() {
                logs.extend(chain.network().terminal.access_logs().iter().map(Rc::clone));
            }
        }
        for listener in self.udp_listeners.borrow().values() {
            logs.extend(listener.proxy().access_logs.iter().map(Rc::clone));
        }
        let ends: Vec<_> = logs
            .into_iter()
            .map(|log| tokio::task::spawn_local(async move { log.part.drain().await }))
            .collect();
        let all = async {
            for end in ends {
                // One that panicked has ended too.
                let _ = end.await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }

    /// Lets go of what holds the worker in turn: else connections in its pools would outlive its thread.
    fn let_go(&self) {
        // Taken out first: what is dropped may look at the worker.
        let held = (
            self.listeners.take(),
            self.departed.take(),
            self.udp_listeners.take(),
            self.clusters.take(),
            self.pending.take(),
            self.streams.take(),
        );
        drop(held);
    }

    /// Takes no more connections and waits until those that are there have ended.
    async fn drain(&self) {
        self.draining.set(true);
        let listeners: Vec<_> = self.listeners.borrow().values().map(Rc::clone).collect();
        for listener in listeners {
            listener.drain();
        }
        self.drain_udp();
        while self.connections.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl WorkerHandle {
    /// Waits for the thread's end.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker's thread panicked");
        }
    }
}
