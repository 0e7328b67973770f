//! The numbers of a cluster that belong to the process: they are shared by all workers and outlive reloads.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of a cluster.
#[derive(Debug, Default)]
pub(crate) struct ClusterState {
    health_changes: AtomicU64,
}

impl ClusterState {
    /// A host became healthy, or is healthy no more.
    pub(crate) fn health_changed(&self) {
        // What was written to the host is to be seen by whoever sees this.
        self.health_changes.fetch_add(1, Ordering::Release);
    }

    /// Counts up whenever the health of a host changes.
    pub(super) fn health_version(&self) -> u64 {
        self.health_changes.load(Ordering::Acquire)
    }
}
