//! What reaches a worker from other threads.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use transom_api::Message;
use transom_api::event::{Address, Inbox};
use transom_config::ListenAddress;

use crate::cluster::{ClusterState, Host};
use crate::control::snapshot::Snapshot;
use crate::listener::limits::Admission;

/// The sending side, shared by all threads. Its queue grows as needed: sending never waits.
pub(crate) struct WorkerInbox {
    sender: mpsc::UnboundedSender<Command>,
}

/// What a worker is told.
pub(crate) enum Command {
    /// A resumer's post.
    Post(Address, Message),
    /// Build what the snapshot needs, piece by piece, and answer.
    Build {
        snapshot: Arc<Snapshot>,
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Make the snapshot of this version the active one.
    Commit {
        version: u64,
        done: oneshot::Sender<()>,
    },
    /// Forget what was built for this version.
    Discard { version: u64 },
    /// Change the generations of a place.
    Generations {
        change: crate::control::generations::Change,
        done: oneshot::Sender<Result<crate::control::generations::PlaceStatus, String>>,
    },
    /// A cluster may have one more connection, and a request here waits for one.
    Room(Arc<ClusterState>),
    /// Give up an idle connection of a cluster, first one to this host: a request of another worker waits for its place.
    MakeRoom(Arc<ClusterState>, Arc<Host>),
    /// Serve a connection that was accepted elsewhere on this address and is counted for this worker.
    Connection {
        listener: ListenAddress,
        socket: OwnedFd,
        admission: Admission,
    },
    /// Take no more connections; finish those that are there; answer when none is left.
    Drain { done: oneshot::Sender<()> },
    /// End the thread.
    Stop,
}

impl WorkerInbox {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Command>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { sender }), receiver)
    }

    /// Sends a command; one to a worker that has ended is dropped.
    pub(crate) fn send(&self, command: Command) {
        // The receiver is gone only when the worker has ended.
        let _ = self.sender.send(command);
    }
}

impl Inbox for WorkerInbox {
    fn post(&self, to: Address, message: Message) {
        self.send(Command::Post(to, message));
    }
}
