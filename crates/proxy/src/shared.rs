//! The process's shared data: read without waiting, written by copying a small map.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use transom_api::shared::{SharedError, SharedHost, SharedValue};

/// A writer copies the map of its part only; with 64 parts that is a few dozen entries for thousands of keys.
const PARTS: usize = 64;
const LONGEST_KEY: usize = 1 << 10;
const LARGEST_VALUE: usize = 1 << 20;
const MOST_VALUES: usize = 10_000;

/// A map of keys to bytes whose readers and writers never wait for each other: a writer that lost a race tries again on
/// the newer map.
pub(crate) struct SharedStore {
    parts: Vec<ArcSwap<HashMap<String, SharedValue>>>,
    values: AtomicUsize,
    next_version: AtomicU32,
}

impl SharedStore {
    pub(crate) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| ArcSwap::default()).collect(),
            values: AtomicUsize::new(0),
            next_version: AtomicU32::new(0),
        }
    }

    fn part(&self, key: &str) -> Option<&ArcSwap<HashMap<String, SharedValue>>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.parts.get(hasher.finish() as usize % PARTS)
    }
}

impl SharedHost for SharedStore {
    fn get(&self, key: &str) -> Option<SharedValue> {
        self.part(key)?.load().get(key).cloned()
    }

    fn set(
        &self,
        key: &str,
        value: Option<&[u8]>,
        expected: Option<u32>,
    ) -> Result<(), SharedError> {
        if key.len() > LONGEST_KEY || value.is_some_and(|value| value.len() > LARGEST_VALUE) {
            return Err(SharedError::TooLarge);
        }
        if value.is_some()
            && self.values.load(Ordering::Relaxed) >= MOST_VALUES
            && self.get(key).is_none()
        {
            return Err(SharedError::TooLarge);
        }
        let Some(part) = self.part(key) else {
            return Err(SharedError::TooLarge);
        };
        let value = value.map(|bytes| SharedValue {
            bytes: Arc::from(bytes),
            version: self
                .next_version
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(1)
                .max(1),
        });
        let mut outcome = Ok(0_isize);
        part.rcu(|map| {
            let before = map.get(key);
            if expected.is_some_and(|expected| expected != before.map_or(0, |value| value.version))
            {
                outcome = Err(SharedError::Changed);
                return Arc::clone(map);
            }
            outcome = Ok(isize::from(value.is_some()) - isize::from(before.is_some()));
            let mut next = HashMap::clone(map);
            match &value {
                Some(value) => next.insert(key.to_owned(), value.clone()),
                None => next.remove(key),
            };
            Arc::new(next)
        });
        match outcome? {
            1 => self.values.fetch_add(1, Ordering::Relaxed),
            -1 => self.values.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_set_read_and_removed() {
        let store = SharedStore::new();
        assert!(store.get("a").is_none());
        store.set("a", Some(b"1"), None).unwrap();
        assert_eq!(&*store.get("a").unwrap().bytes, b"1");
        store.set("a", None, None).unwrap();
        assert!(store.get("a").is_none());
        assert_eq!(store.values.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn compare_and_set_loses_when_the_value_changed() {
        let store = SharedStore::new();
        store.set("a", Some(b"1"), Some(0)).unwrap();
        assert_eq!(
            store.set("a", Some(b"2"), Some(0)),
            Err(SharedError::Changed)
        );
        let version = store.get("a").unwrap().version;
        store.set("a", Some(b"2"), Some(version)).unwrap();
        assert_eq!(
            store.set("a", Some(b"3"), Some(version)),
            Err(SharedError::Changed)
        );
    }

    #[test]
    fn concurrent_increments_are_not_lost() {
        let store = Arc::new(SharedStore::new());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let store = Arc::clone(&store);
                std::thread::spawn(move || {
                    for _ in 0..500 {
                        loop {
                            let (count, version) = store.get("n").map_or((0, 0), |value| {
                                (
                                    u32::from_le_bytes((*value.bytes).try_into().unwrap()),
                                    value.version,
                                )
                            });
                            if store
                                .set("n", Some(&(count + 1).to_le_bytes()), Some(version))
                                .is_ok()
                            {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*store.get("n").unwrap().bytes, 2000_u32.to_le_bytes());
    }

    #[test]
    fn bounds_are_kept() {
        let store = SharedStore::new();
        assert_eq!(
            store.set(&"k".repeat(1025), Some(b""), None),
            Err(SharedError::TooLarge)
        );
        assert_eq!(
            store.set("k", Some(&vec![0; (1 << 20) + 1]), None),
            Err(SharedError::TooLarge)
        );
        for key in 0..MOST_VALUES {
            store.set(&key.to_string(), Some(b"x"), None).unwrap();
        }
        assert_eq!(
            store.set("more", Some(b"x"), None),
            Err(SharedError::TooLarge)
        );
        assert_eq!(store.set("1", Some(b"y"), None), Ok(()));
    }
}
