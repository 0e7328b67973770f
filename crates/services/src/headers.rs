//! Header maps as messages, and a server's changes to them.

use bytes::Bytes;
use transom_api::{Direction, HeaderError, HeaderMap, Headers, HeadersMut, field};

use crate::names::Names;
use crate::proto::core;
use crate::proto::core::header_value_option::HeaderAppendAction as Action;
use crate::rules::{Operation, Rules};

/// Which fields a server is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// If there are any, only these.
    pub(crate) allowed: Names,
    /// Not these.
    pub(crate) disallowed: Names,
}

impl Shown {
    pub(crate) fn shows(&self, name: &[u8]) -> bool {
        (self.allowed.is_empty() || self.allowed.contain(name)) && !self.disallowed.contain(name)
    }
}

/// A header map as a message: names in lower case, values as bytes.
pub(crate) fn to_message(headers: Headers<'_>, shown: &Shown) -> core::HeaderMap {
    let headers = headers
        .iter()
        .filter(|(name, _)| shown.shows(name))
        .map(|(name, value)| core::HeaderValue {
            key: lower(&name),
            raw_value: value.into_owned(),
            ..Default::default()
        });
    core::HeaderMap {
        headers: headers.collect(),
    }
}

/// A name in lower case. Names are ASCII (RFC 9110 section 5.1).
pub(crate) fn lower(name: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(name).into_owned();
    text.make_ascii_lowercase();
    text
}

/// Why a server's change was not made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refused {
    #[error("the rules do not let it change `{0}`")]
    Forbidden(String),
    #[error("`{0}` is no name of a field")]
    Name(String),
    #[error("the value for `{0}` is none that this field can have")]
    Value(String),
    #[error("`{0}` makes the headers longer than they may be")]
    TooLarge(String),
}

/// A server's changes.
pub(crate) struct Changes<'c> {
    pub(crate) set: &'c [core::HeaderValueOption],
    pub(crate) remove: &'c [String],
    pub(crate) rules: &'c Rules,
    /// The message is replaced, and with it may come another method.
    pub(crate) replacing: bool,
    /// What holds when an option says nothing: to add, or to replace.
    pub(crate) default: Action,
    /// The older `append` adds to a field that is there, and makes none.
    pub(crate) append_makes_none: bool,
}

impl Changes<'_> {
    /// Makes them: removals first. Answers how many the rules kept back.
    pub(crate) fn apply(&self, headers: &mut HeadersMut<'_>) -> Result<u32, Refused> {
        let mut kept_back = 0;
        for name in self.remove {
            let name = lower(name.as_bytes());
            if !is_name(&name) {
                return Err(Refused::Name(name));
            }
            if !self.rules.allow(Operation::Remove, &name) {
                kept_back += 1;
                self.forbidden(&name)?;
                continue;
            }
            if headers.remove(&name) == Err(HeaderError::Reserved) {
                // How a message is framed is no server's matter.
                kept_back += 1;
            }
        }
        for option in self.set {
            let Some(header) = &option.header else {
                continue;
            };
            kept_back += self.set(headers, option, header)?;
        }
        Ok(kept_back)
    }

    fn set(
        &self,
        headers: &mut HeadersMut<'_>,
        option: &core::HeaderValueOption,
        header: &core::HeaderValue,
    ) -> Result<u32, Refused> {
        let name = lower(header.key.as_bytes());
        let value = value_of(header);
        if !is_name(&name) {
            return Err(Refused::Name(name));
        }
        if !field::is_value(value) {
            return Err(Refused::Value(name));
        }
        let exists = headers.as_ref().contains(&name);
        let operation = match action_of(option, self.default) {
            Action::AppendIfExistsOrAdd if exists => Operation::Append,
            _ if !exists && self.append_makes_none && option.append == Some(true) => return Ok(0),
            Action::AddIfAbsent if exists => return Ok(0),
            Action::OverwriteIfExists if !exists => return Ok(0),
            _ => Operation::Set,
        };
        let allowed = self.rules.allow(operation, &name) || self.replacing && name == ":method";
        if !allowed {
            self.forbidden(&name)?;
            return Ok(1);
        }
        let done = if operation == Operation::Append {
            headers.add(&name, value)
        } else {
            headers.set(&name, value)
        };
        match done {
            Ok(()) => Ok(0),
            Err(HeaderError::InvalidName) => Err(Refused::Name(name)),
            Err(HeaderError::InvalidValue) => Err(Refused::Value(name)),
            Err(HeaderError::TooLarge) => Err(Refused::TooLarge(name)),
            // How a message is framed is no server's matter, and what has left cannot be changed.
            Err(_) => Ok(1),
        }
    }

    fn forbidden(&self, name: &str) -> Result<(), Refused> {
        if self.rules.disallow_is_error {
            return Err(Refused::Forbidden(name.to_owned()));
        }
        Ok(())
    }
}

/// What is to be done with a value: the older `append` says it where the newer `append_action` has its default.
pub(crate) fn action_of(option: &core::HeaderValueOption, default: Action) -> Action {
    match (Action::try_from(option.append_action), option.append) {
        (Ok(Action::AppendIfExistsOrAdd) | Err(_), Some(true)) => Action::AppendIfExistsOrAdd,
        (Ok(Action::AppendIfExistsOrAdd) | Err(_), Some(false)) => Action::OverwriteIfExistsOrAdd,
        (Ok(Action::AppendIfExistsOrAdd) | Err(_), None) => default,
        (Ok(action), _) => action,
    }
}

/// The value of a field: of two, the one that may be any bytes.
pub(crate) fn value_of(header: &core::HeaderValue) -> &[u8] {
    match header.raw_value.as_slice() {
        [] => header.value.as_bytes(),
        raw => raw,
    }
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    field::is_name(bytes) || field::Pseudo::of(bytes).is_some()
}

/// The maps of a direction.
pub(crate) fn head_of(direction: Direction) -> HeaderMap {
    match direction {
        Direction::Request => HeaderMap::RequestHeaders,
        Direction::Response => HeaderMap::ResponseHeaders,
    }
}

pub(crate) fn trailers_of(direction: Direction) -> HeaderMap {
    match direction {
        Direction::Request => HeaderMap::RequestTrailers,
        Direction::Response => HeaderMap::ResponseTrailers,
    }
}

/// Whether a request asks for a tunnel (CONNECT, an upgrade): what follows it has no end that one could wait for.
pub(crate) fn asks_for_tunnel(request: Headers<'_>) -> bool {
    request.contains("upgrade")
        || request
            .get(":method")
            .is_some_and(|method| method == "CONNECT")
}

/// Bytes of a message that are sent on.
pub(crate) fn body_bytes(chunks: transom_api::Body<'_>) -> Bytes {
    Bytes::from(chunks.to_vec())
}
