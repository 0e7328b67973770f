//! A host as all workers know it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use transom_config::HostAddress;

use super::outlier::Failures;
use super::state::Count;

/// A host of a cluster, shared by all workers and snapshots: one per cluster and address in the process.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) address: HostAddress,
    /// The address as text, for logs and attributes.
    pub(crate) text: String,
    /// The [`Ailment`]s that it has; none is healthy.
    ailments: AtomicU8,
    /// Requests and relayed connections that it has from all workers.
    pub(crate) active: Count,
    /// Connections that it has from all workers.
    pub(crate) connections: Count,
    /// What is known of its failures in traffic.
    pub(super) failures: Failures,
    /// Whether a health check of it has ended.
    checked: AtomicBool,
    /// Why its last health check failed. Only the control side looks at this.
    failure: Mutex<Option<String>>,
}

/// Why a host is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ailment {
    /// Its health checks fail, or none has succeeded yet.
    FailedCheck = 1,
    /// It failed in traffic, and is left out for a while.
    Ejected = 2,
}

impl Host {
    pub(crate) fn new(address: HostAddress) -> Self {
        Self {
            text: address.to_string(),
            address,
            ailments: AtomicU8::new(0),
            active: Count::default(),
            connections: Count::default(),
            failures: Failures::default(),
            checked: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.ailments.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn has(&self, ailment: Ailment) -> bool {
        self.ailments.load(Ordering::Relaxed) & ailment as u8 != 0
    }

    /// Notes that it has an ailment, or has it no more. True when that changed. Who calls this tells the cluster by
    /// [`ClusterState::health_changed`](super::ClusterState::health_changed).
    pub(crate) fn set(&self, ailment: Ailment, has: bool) -> bool {
        let bit = ailment as u8;
        let before = if has {
            self.ailments.fetch_or(bit, Ordering::Relaxed)
        } else {
            self.ailments.fetch_and(!bit, Ordering::Relaxed)
        };
        (before & bit != 0) != has
    }

    /// Whether a health check of it has ended.
    pub(crate) fn was_checked(&self) -> bool {
        self.checked.load(Ordering::Relaxed)
    }

    /// The result of a health check. For the control side.
    pub(crate) fn note_check(&self, failure: Option<&str>) {
        self.checked.store(true, Ordering::Relaxed);
        let mut last = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() != failure {
            *last = failure.map(str::to_owned);
        }
    }

    /// It has no health checks any more. For the control side.
    pub(crate) fn forget_checks(&self) {
        self.set(Ailment::FailedCheck, false);
        self.note_check(None);
        self.checked.store(false, Ordering::Relaxed);
    }

    /// Why its last health check failed. For the control side.
    pub(crate) fn failure(&self) -> Option<String> {
        let last = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}
