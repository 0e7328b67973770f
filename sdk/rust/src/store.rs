//! Shared data of the plugin's own process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use transom_api::shared::{SharedHost, SharedValue};
use transom_api::{SharedData, SharedError};

/// The host's own bounds.
const LARGEST_KEY: usize = 1 << 10;
const LARGEST_VALUE: usize = 1 << 20;
const MOST_VALUES: usize = 10_000;

/// Data that all filters of this process share.
pub(crate) fn shared_data() -> SharedData {
    SharedData::new(Arc::new(Store::default()))
}

#[derive(Default)]
struct Store(Mutex<Values>);

#[derive(Default)]
struct Values {
    values: HashMap<String, SharedValue>,
    last_version: u32,
}

impl SharedHost for Store {
    fn get(&self, key: &str) -> Option<SharedValue> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.values.get(key).cloned()
    }

    fn set(
        &self,
        key: &str,
        value: Option<&[u8]>,
        expected: Option<u32>,
    ) -> Result<(), SharedError> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = values.values.get(key).map_or(0, |value| value.version);
        if expected.is_some_and(|expected| expected != there) {
            return Err(SharedError::Changed);
        }
        let Some(bytes) = value else {
            values.values.remove(key);
            return Ok(());
        };
        let is_full = there == 0 && values.values.len() >= MOST_VALUES;
        if is_full || key.len() > LARGEST_KEY || bytes.len() > LARGEST_VALUE {
            return Err(SharedError::TooLarge);
        }
        // 0 stands for no value.
        values.last_version = values.last_version.wrapping_add(1).max(1);
        let value = SharedValue {
            bytes: bytes.into(),
            version: values.last_version,
        };
        values.values.insert(key.to_owned(), value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_set_if_its_version_is_still_the_same() {
        let data = shared_data();
        assert_eq!(data.compare_and_set("a", b"1", 0), Ok(()));
        assert_eq!(
            data.compare_and_set("a", b"2", 0),
            Err(SharedError::Changed)
        );
        let version = data.get("a").unwrap().version;
        assert_eq!(data.compare_and_set("a", b"2", version), Ok(()));
        assert_eq!(&*data.get("a").unwrap().bytes, b"2");
        data.remove("a").unwrap();
        assert_eq!(data.get("a"), None);
        let large = vec![0; LARGEST_VALUE + 1];
        assert_eq!(data.set("a", &large), Err(SharedError::TooLarge));
    }
}
