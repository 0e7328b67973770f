//! The host's shared data, from within a filter.
//!
//! [`Stream::shared`] answers at once, so in a plugin it is data of the plugin's own process. The host's, which all plugins, workers and
//! filters share, is asked for here, and the answer comes as an event.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use transom_api::{Event, Stream};

use crate::later::SHARED;
use crate::proto::v1::{self, Action, action};

/// The token of results, which [`SharedResult::of`] looks for.
pub(crate) const TOKEN: u64 = u64::MAX - 1;

/// What became of an operation on the host's shared data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharedResult {
    /// The key that was asked for.
    pub key: String,
    /// Of a get: the value, if there is one.
    pub value: Option<Vec<u8>>,
    /// Of a get: changes with each write; 0 if there is no value.
    pub version: u32,
    /// Of a set: whether it was done.
    pub done: bool,
}

impl SharedResult {
    /// The result in an event, if it has one.
    #[must_use]
    pub fn of(event: &mut Event) -> Option<Self> {
        match event {
            Event::Resumed(message) if message.token == TOKEN => message.take(),
            _ => None,
        }
    }
}

impl From<v1::SharedResult> for SharedResult {
    fn from(result: v1::SharedResult) -> Self {
        Self {
            key: result.key,
            value: result.value.map(Into::into),
            version: result.version,
            done: result.done,
        }
    }
}

/// Asks for the host's shared data. Each operation has one [`SharedResult`], which comes to `on_event`, in the order of the operations.
///
/// In a filter that is compiled into the proxy, or under test, the data is [`Stream::shared`], and the result comes the same way.
pub trait HostShared {
    /// Reads the value under `key`.
    fn shared_get(&mut self, key: &str);
    /// Sets (or, with `None`, removes) the value under `key`. With `version`, only if it has that one; 0: only if there is none.
    fn shared_set(&mut self, key: &str, value: Option<&[u8]>, version: Option<u32>);
}

impl HostShared for Stream<'_> {
    fn shared_get(&mut self, key: &str) {
        self.ask(Asked::Get(key.to_owned()));
    }

    fn shared_set(&mut self, key: &str, value: Option<&[u8]>, version: Option<u32>) {
        self.ask(Asked::Set {
            key: key.to_owned(),
            value: value.map(Bytes::copy_from_slice),
            version,
        });
    }
}

trait Ask {
    fn ask(&mut self, asked: Asked);
}

impl Ask for Stream<'_> {
    fn ask(&mut self, asked: Asked) {
        let state = self.filter_state();
        if let Some(queue) = state.get::<Rc<RefCell<Vec<Asked>>>>(SHARED) {
            queue.borrow_mut().push(asked);
            return;
        }
        let result = asked.perform(self.shared());
        self.resumer().post_with(TOKEN, result);
    }
}

/// An operation.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Get(String),
    Set {
        key: String,
        value: Option<Bytes>,
        version: Option<u32>,
    },
}

impl Asked {
    pub(crate) fn action(self) -> Action {
        let operation = match self {
            Self::Get(key) => v1::shared::Operation::Get(key),
            Self::Set {
                key,
                value,
                version,
            } => v1::shared::Operation::Set(v1::SharedSet {
                key,
                value,
                version,
            }),
        };
        Action {
            action: Some(action::Action::Shared(v1::Shared {
                operation: Some(operation),
            })),
        }
    }

    /// Does it here and now.
    pub(crate) fn perform(self, data: &transom_api::SharedData) -> SharedResult {
        match self {
            Self::Get(key) => {
                let found = data.get(&key);
                SharedResult {
                    key,
                    version: found.as_ref().map_or(0, |found| found.version),
                    value: found.map(|found| found.bytes.to_vec()),
                    done: true,
                }
            }
            Self::Set {
                key,
                value,
                version,
            } => {
                let done = match (&value, version) {
                    (Some(value), Some(version)) => data.compare_and_set(&key, value, version),
                    (Some(value), None) => data.set(&key, value),
                    (None, None) => data.remove(&key),
                    (None, Some(version)) => {
                        match data.get(&key).map_or(0, |found| found.version) {
                            found if found == version => data.remove(&key),
                            _ => Err(transom_api::SharedError::Changed),
                        }
                    }
                };
                SharedResult {
                    key,
                    value: None,
                    version: 0,
                    done: done.is_ok(),
                }
            }
        }
    }
}
