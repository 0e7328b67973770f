//! The values at the leaves of a file, and the lists and maps that read on after a mistake.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use transom_api::node::known;
use transom_api::units::{format_duration, parse_duration};
use transom_api::{Node, ParseError};

use crate::decode::{Tried, Verbatim, refuse};
use crate::{HostAddress, ListenAddress, Located, Statuses};

/// For a key that may be left out: reads on after a mistake in it. What is put in its place is never used, as the
/// configuration is refused.
pub(super) fn tried<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Tried::deserialize(deserializer)?.0.unwrap_or_default())
}

/// A duration: `100ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

/// A duration longer than zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NonZeroTime(pub(crate) Duration);

/// A number of bytes from `MIN` to `MAX`: `64KiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size<const MIN: u64, const MAX: u64>(pub(crate) u64);

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranged<const MIN: u32, const MAX: u32>(pub(crate) u32);

/// A share of a hundred: 0 to 100, also with a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

/// Statuses of responses: one, or a range `200..299`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusRange(pub(crate) Statuses);

/// Two durations, `25ms..250ms`: the second is not shorter than the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff(pub(crate) Duration, pub(crate) Duration);

/// What a request is sent again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryOn(pub(crate) crate::RetryOn);

/// The name of a resource: not empty, without control characters and slashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

/// A list. A wrong item is left out.
#[derive(Clone, Debug)]
pub(crate) struct Items<T> {
    pub(crate) items: Vec<T>,
    /// False when one was left out.
    pub(crate) whole: bool,
}

/// A map with free keys. A wrong entry is left out.
#[derive(Clone, Debug)]
pub(crate) struct Entries<T>(pub(crate) Vec<(Located<String>, T)>);

impl Time {
    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        node.as_duration().map(Self).map_err(refuse)
    }
}

impl<'de> Deserialize<'de> for NonZeroTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let duration = node.as_duration().map_err(refuse)?;
        if duration.is_zero() {
            return Err(refuse(node.error("this duration must be longer than zero")));
        }
        Ok(Self(duration))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let size = node.as_size().map_err(refuse)?;
        if !(MIN..=MAX).contains(&size) {
            let (min, max) = (format_size(MIN), format_size(MAX));
            let message = format!(
                "expected a size from {min} to {max}, found {}",
                format_size(size)
            );
            return Err(refuse(node.error(message)));
        }
        Ok(Self(size))
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Ranged<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let value: i128 = node.as_integer().map_err(refuse)?;
        match u32::try_from(value) {
            Ok(value) if (MIN..=MAX).contains(&value) => Ok(Self(value)),
            _ => Err(refuse(node.error(format!(
                "expected a number from {MIN} to {MAX}, found {value}"
            )))),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let share = node.as_number().map_err(refuse)?;
        if !(0.0..=100.0).contains(&share) {
            let message = format!("expected a percentage from 0 to 100, found {share}");
            return Err(refuse(node.error(message)));
        }
        Ok(Self(share))
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        statuses(&node).map(Self).map_err(refuse)
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let ends = node.as_str().ok().and_then(|text| {
            let (first, last) = text.split_once("..")?;
            Some((parse_duration(first).ok()?, parse_duration(last).ok()?))
        });
        match ends {
            Some((first, last)) if first <= last => Ok(Self(first, last)),
            _ => {
                let error =
                    node.error("expected two durations, the second not shorter than the first");
                Err(refuse(
                    error.with_help("write them with two dots between: 25ms..250ms"),
                ))
            }
        }
    }
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WORDS: [&str; 4] = ["5xx", "connect_failure", "gateway_error", "reset"];
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let word = match node.as_str() {
            Ok("5xx") => crate::RetryOn::ServerError,
            Ok("connect_failure") => crate::RetryOn::ConnectFailure,
            Ok("gateway_error") => crate::RetryOn::GatewayError,
            Ok("reset") => crate::RetryOn::Reset,
            Ok(text) if !text.starts_with(|first: char| first.is_ascii_digit()) => {
                let error = node.error(format!(
                    "nothing is called {text:?} after which a request could be sent again"
                ));
                return Err(refuse(error.with_help(known(text, "words", &WORDS))));
            }
            _ => crate::RetryOn::Status(statuses(&node).map_err(refuse)?),
        };
        Ok(Self(word))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const LONGEST: usize = 128;
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let name = node.as_str().map_err(refuse)?;
        let mistake = if name.is_empty() {
            "a name cannot be empty"
        } else if name.len() > LONGEST {
            "a name can have 128 bytes at most"
        } else if name.contains('/') {
            // `<listener>/<filter>` is the name of a route table that is written inside a filter.
            "a name cannot have a slash"
        } else if name.contains(char::is_control) {
            "a name cannot have control characters"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(refuse(node.error(mistake)))
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        node.as_str().and_then(str::parse).map_err(refuse)
    }
}

impl<'de> Deserialize<'de> for HostAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        node.as_str().and_then(str::parse).map_err(refuse)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Items<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<T>, A::Error> {
                let mut read = Items::default();
                while let Some(Tried(item)) = list.next_element()? {
                    read.whole &= item.is_some();
                    read.items.extend(item);
                }
                Ok(read)
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of keys to values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Located<String>, Tried<T>>()? {
                    entries.extend(value.0.map(|value| (key, value)));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Map(PhantomData))
    }
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            whole: true,
        }
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Writes a size in the form in which it is read.
pub(crate) fn format_size(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

fn statuses(node: &Node) -> Result<Statuses, ParseError> {
    let ends = match node.as_str() {
        Ok(text) => match text.split_once("..") {
            Some((first, last)) => (first.parse().ok(), last.parse().ok()),
            None => (text.parse().ok(), text.parse().ok()),
        },
        Err(_) => {
            let status = node.as_integer().ok();
            (status, status)
        }
    };
    match ends {
        (Some(first), Some(last)) if 100 <= first && first <= last && last <= 599 => {
            Ok(Statuses { first, last })
        }
        _ => {
            let error = node.error("expected a status from 100 to 599, or a range of statuses");
            Err(error.with_help("write 503, or \"500..599\" for all from the first to the last"))
        }
    }
}

// Schemas say defaults by writing them out.

impl Serialize for Backoff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (first, last) = (format_duration(self.0), format_duration(self.1));
        serializer.serialize_str(&format!("{first}..{last}"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(self.0))
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl Serialize for NonZeroTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Time(self.0).serialize(serializer)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Size<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size(self.0))
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Ranged<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whole numbers look like such.
        if self.0.fract() == 0.0 {
            return serializer.serialize_u32(self.0 as u32);
        }
        serializer.serialize_f64(self.0)
    }
}

macro_rules! schemas {
    ($([$($generics:tt)*] $type:ty: $name:literal => $schema:expr;)*) => {$(
        impl<$($generics)*> JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

/// The forms of values that JSON Schema has no type for.
pub(crate) const DURATION: &str = r"^[0-9]+(\.[0-9]+)? *(ms|s|m|h)$";
pub(crate) const SIZE: &str = r"^[0-9]+(\.[0-9]+)? *(B|KiB|MiB|GiB)?$";

schemas! {
    [] Time: "duration" => json_schema!({"type": "string", "pattern": DURATION});
    [] NonZeroTime: "duration" => json_schema!({"type": "string", "pattern": DURATION});
    [const MIN: u64, const MAX: u64] Size<MIN, MAX>: "size" => json_schema!({
        "type": ["integer", "string"], "minimum": MIN, "maximum": MAX, "pattern": SIZE,
    });
    [const MIN: u32, const MAX: u32] Ranged<MIN, MAX>: "number" => json_schema!({
        "type": "integer", "minimum": MIN, "maximum": MAX,
    });
    [] Percent: "percentage" => json_schema!({"type": "number", "minimum": 0, "maximum": 100});
    [] StatusRange: "statuses" => json_schema!({
        "type": ["integer", "string"], "minimum": 100, "maximum": 599, "pattern": r"^[1-5][0-9]{2}(\.\.[1-5][0-9]{2})?$",
    });
    [] Backoff: "durations" => json_schema!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *(ms|s|m|h)\.\.[0-9]+(\.[0-9]+)? *(ms|s|m|h)$"});
    [] RetryOn: "retry on" => json_schema!({
        "type": ["integer", "string"], "minimum": 100, "maximum": 599,
        "pattern": r"^(5xx|connect_failure|gateway_error|reset|[1-5][0-9]{2}(\.\.[1-5][0-9]{2})?)$",
    });
    [] Name: "name" => json_schema!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[^/]+$"});
    [] ListenAddress: "listen address" => json_schema!({"type": "string", "pattern": r"^(unix:.+|.+:[0-9]+)$"});
    [] HostAddress: "host address" => json_schema!({"type": "string", "pattern": r"^(unix:.+|.+:[0-9]+)$"});
    [] Verbatim: "anything" => json_schema!(true);
}

macro_rules! transparent {
    ($($type:ident as $inner:ty;)*) => {$(
        impl<T: JsonSchema> JsonSchema for $type<T> {
            fn schema_name() -> Cow<'static, str> {
                <$inner>::schema_name()
            }

            fn inline_schema() -> bool {
                <$inner>::inline_schema()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                <$inner>::json_schema(generator)
            }

            fn schema_id() -> Cow<'static, str> {
                <$inner>::schema_id()
            }
        }
    )*};
}

transparent! {
    Located as T;
    Tried as T;
    Items as Vec<T>;
    Entries as std::collections::BTreeMap<String, T>;
}
