//! The uses of a plugin's extensions: what the control side has made ready, for all workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use transom_api::{
    CertificateProvider, Factory, NetworkFilterConfig, Phase, StreamFilterConfig, StreamFilters,
};

use crate::log::Keep;

/// The uses that are ready, by the host's number.
#[derive(Default)]
pub(crate) struct Uses {
    ready: Mutex<HashMap<u64, Arc<Use>>>,
    /// Changes when a use goes, so that workers let go of their parts of it.
    releases: AtomicU64,
}

/// A use that is ready.
pub(crate) struct Use {
    pub(crate) name: Arc<str>,
    pub(crate) clusters: Vec<String>,
    pub(crate) prepared: Prepared,
}

pub(crate) enum Prepared {
    Stream {
        factory: Arc<dyn Factory<StreamFilters>>,
        config: Arc<dyn StreamFilterConfig>,
        phase: Phase,
    },
    Network(Arc<dyn NetworkFilterConfig>),
    Certificates(Arc<dyn CertificateProvider>),
    Log(Arc<dyn Keep>),
}

impl Uses {
    pub(crate) fn add(&self, id: u64, ready: Use) {
        self.lock().insert(id, Arc::new(ready));
    }

    pub(crate) fn find(&self, id: u64) -> Option<Arc<Use>> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn release(&self, id: u64) {
        // What was prepared is dropped behind the lock.
        let _gone = self.lock().remove(&id);
        self.releases.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn releases(&self) -> u64 {
        self.releases.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Use>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
