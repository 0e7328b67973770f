//! Data that all workers, streams and extensions share: a map from keys to bytes with compare-and-swap, and objects that
//! outlive the configurations that use them.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Shared data of the process. Reading and writing never wait for another thread.
#[derive(Clone)]
pub struct SharedData {
    host: Arc<dyn SharedHost>,
    kept: Arc<Mutex<Kept>>,
}

/// Objects by their type and name, for as long as somebody holds them.
type Kept = HashMap<(TypeId, String), Weak<dyn Any + Send + Sync>>;

/// The host's side of [`SharedData`].
pub trait SharedHost: Send + Sync {
    /// The value under `key` and its version.
    fn get(&self, key: &str) -> Option<SharedValue>;
    /// Sets or (with `None`) removes the value under `key`. With `expected`, only if its version is that one (0: only
    /// if there is none).
    fn set(
        &self,
        key: &str,
        value: Option<&[u8]>,
        expected: Option<u32>,
    ) -> Result<(), SharedError>;
}

/// A shared value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedValue {
    /// The bytes.
    pub bytes: Arc<[u8]>,
    /// Changes with each write; never 0.
    pub version: u32,
}

/// Why a value was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SharedError {
    /// The version is another one by now.
    Changed,
    /// The key (1 KiB) or the value (1 MiB) is too large, or there are too many (10,000).
    TooLarge,
}

impl SharedData {
    /// Shared data of a host.
    #[must_use]
    pub fn new(host: Arc<dyn SharedHost>) -> Self {
        Self {
            host,
            kept: Arc::default(),
        }
    }

    /// See [`PrepareContext::keep`](crate::factory::PrepareContext::keep), which is the only way here: the lock is for
    /// the control side.
    pub fn keep<T: Send + Sync + 'static>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (TypeId::of::<T>(), name.to_owned());
        let known = kept.get(&key).and_then(Weak::upgrade);
        if let Some(object) = known.and_then(|object| object.downcast().ok()) {
            return object;
        }
        kept.retain(|_, object| object.strong_count() > 0);
        let object = Arc::new(make());
        let any: Arc<dyn Any + Send + Sync> = object.clone();
        kept.insert(key, Arc::downgrade(&any));
        object
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<SharedValue> {
        self.host.get(key)
    }

    /// Sets the value under `key`, whatever it was.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), SharedError> {
        self.host.set(key, Some(value), None)
    }

    /// Sets the value under `key` if its version is still `expected` (0: if there is none).
    pub fn compare_and_set(
        &self,
        key: &str,
        value: &[u8],
        expected: u32,
    ) -> Result<(), SharedError> {
        self.host.set(key, Some(value), Some(expected))
    }

    /// Removes the value under `key`.
    pub fn remove(&self, key: &str) -> Result<(), SharedError> {
        self.host.set(key, None, None)
    }
}

impl fmt::Debug for SharedData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedData")
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "the value was changed meanwhile",
            Self::TooLarge => "the key, the value or the number of values is too large",
        })
    }
}

impl std::error::Error for SharedError {}
