//! What files became, where all workers see it; and another in its place when the files change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::files::{Stamp, TlsFileError};

/// What is made of a `tls` and its files.
pub(crate) trait Loaded: Sized {
    /// The `tls` of a listener or a cluster.
    type Config: PartialEq + Clone;

    /// The files that are read.
    fn files(config: &Self::Config) -> Vec<PathBuf>;

    /// Reads the files. `before` is what they were, for what outlives a change.
    fn load(config: &Self::Config, before: Option<&Self>) -> Result<Self, TlsFileError>;
}

/// A `tls`, and what its files were when they were last good.
pub(crate) struct Published<L: Loaded> {
    config: L::Config,
    current: ArcSwap<L>,
    seen: Mutex<Seen>,
}

/// The files when they were last read.
struct Seen {
    stamps: Vec<Stamp>,
    /// Whether they could be used.
    good: bool,
}

impl<L: Loaded> Published<L> {
    /// Reads the files for the first time. `before` is what the owner had until now.
    pub(super) fn load(config: &L::Config, before: Option<&Self>) -> Result<Self, TlsFileError> {
        // Before the files are read: what changes meanwhile is seen at the next look.
        let stamps = stamps::<L>(config);
        let before = before.map(Self::current);
        let loaded = L::load(config, before.as_deref())?;
        Ok(Self {
            config: config.clone(),
            current: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(Seen { stamps, good: true }),
        })
    }

    /// What handshakes use now.
    pub(crate) fn current(&self) -> Arc<L> {
        self.current.load_full()
    }

    /// Whether `loaded` is what handshakes use now. Takes no hold.
    pub(super) fn is_current(&self, loaded: &Arc<L>) -> bool {
        Arc::ptr_eq(&self.current.load(), loaded)
    }

    /// Whether this is what reading `config` now would give.
    pub(super) fn is_fresh(&self, config: &L::Config) -> bool {
        let seen = self.lock();
        self.config == *config && seen.good && seen.stamps == stamps::<L>(config)
    }

    /// Looks at the files, and reads them when they changed. True when something new was published. After an error what
    /// was published stays, and the files are not read again before they change again.
    pub(super) fn refresh(&self) -> Result<bool, TlsFileError> {
        let mut seen = self.lock();
        let now = stamps::<L>(&self.config);
        if seen.stamps == now {
            return Ok(false);
        }
        seen.stamps = now;
        seen.good = false;
        let loaded = L::load(&self.config, Some(&self.current()))?;
        seen.good = true;
        self.current.store(Arc::new(loaded));
        Ok(true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps<L: Loaded>(config: &L::Config) -> Vec<Stamp> {
    L::files(config)
        .iter()
        .map(|file| Stamp::of(file))
        .collect()
}
