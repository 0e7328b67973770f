//! Views of header maps and bodies: what a filter sees of a message, whoever holds it.
//!
//! Values are borrowed where the host can lend them and owned where it cannot (another process, a VM). Names compare
//! without regard to case; order and spelling are kept; values may hold any bytes that a field value may have
//! (RFC 9110 section 5.5), which need not be UTF-8. The pseudo-headers `:method`, `:path`, `:scheme`, `:authority` and
//! `:status` are in the view, come first, and can be written. `host` is an alias of `:authority`.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};

use crate::verdict::Direction;

/// Which map of a stream. Numbers as in proxy-wasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum HeaderMap {
    /// Headers of the request.
    RequestHeaders = 0,
    /// Trailers of the request.
    RequestTrailers = 1,
    /// Headers of the response.
    ResponseHeaders = 2,
    /// Trailers of the response.
    ResponseTrailers = 3,
}

/// Why a header could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderError {
    /// The message has no such map (yet).
    Absent,
    /// The map has left already.
    Released,
    /// This is no field name (RFC 9110 section 5.1), or a pseudo-header that this map cannot have.
    InvalidName,
    /// This is no value for that field (RFC 9110 section 5.5; RFC 3986 for `:path`).
    InvalidValue,
    /// Framing and connection fields belong to the codec, not to filters (RFC 9110 section 7.6.1).
    Reserved,
    /// The map would grow over its limit.
    TooLarge,
}

/// Why a body could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyError {
    /// Not in a callback that shows this body.
    Absent,
    /// The range lies outside of what is there.
    OutOfRange,
    /// The filter did not say in `wants()` that it changes this body's length, and its length was already announced.
    LengthAnnounced,
}

/// The host's side of a header map. Filters use [`Headers`] and [`HeadersMut`].
pub trait HeaderHost {
    /// The `nth` value of `name`.
    fn header(&self, map: HeaderMap, name: &[u8], nth: usize) -> Option<Cow<'_, [u8]>>;
    /// The entry at `index`, pseudo-headers first.
    fn header_at(&self, map: HeaderMap, index: usize) -> Option<HeaderEntry<'_>>;
    /// Replaces all values of `name` by one, in the place of the first.
    fn set_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError>;
    /// Adds a value at the end.
    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError>;
    /// Removes all values of `name`; says how many there were.
    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<usize, HeaderError>;
    /// The reason phrase of the response. Only HTTP/1 has one.
    fn reason_phrase(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    /// Sets the reason phrase of the response. A protocol without one drops it.
    fn set_reason_phrase(&mut self, _phrase: &[u8]) -> Result<(), HeaderError> {
        Err(HeaderError::Absent)
    }
}

/// An entry of a header map: its name as it was spelled, and its value.
pub type HeaderEntry<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The host's side of the bytes that a callback shows. Filters use [`Body`] and [`BodyMut`].
pub trait BodyHost {
    /// The `index`th piece of what is shown.
    fn body_chunk(&self, direction: Direction, index: usize) -> Option<Cow<'_, [u8]>>;
    /// How many bytes are shown.
    fn body_len(&self, direction: Direction) -> usize;
    /// Replaces the bytes in `range` by `insert`.
    fn splice_body(
        &mut self,
        direction: Direction,
        range: Range<usize>,
        insert: &[u8],
    ) -> Result<(), BodyError>;
}

/// A header map, to read.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    host: &'a dyn HeaderHost,
    map: HeaderMap,
}

impl<'a> Headers<'a> {
    /// A view of `map` in `host`.
    #[must_use]
    pub fn new(host: &'a dyn HeaderHost, map: HeaderMap) -> Self {
        Self { host, map }
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.host.header(self.map, name.as_bytes(), 0).map(Value)
    }

    /// All values of `name`, in order.
    pub fn get_all<'n>(&self, name: &'n str) -> impl Iterator<Item = Value<'a>> + use<'a, 'n> {
        let Self { host, map } = *self;
        (0..).map_while(move |nth| host.header(map, name.as_bytes(), nth).map(Value))
    }

    /// The entry at `index`: pseudo-headers first, then the fields in their order.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<(Value<'a>, Value<'a>)> {
        let (name, value) = self.host.header_at(self.map, index)?;
        Some((Value(name), Value(value)))
    }

    /// True when there is a value of `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All entries, pseudo-headers first, then the fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let headers = *self;
        (0..).map_while(move |index| headers.at(index))
    }
}

/// A header map, to read and to change.
pub struct HeadersMut<'a> {
    host: &'a mut dyn HeaderHost,
    map: HeaderMap,
}

impl<'a> HeadersMut<'a> {
    /// A view of `map` in `host`.
    #[must_use]
    pub fn new(host: &'a mut dyn HeaderHost, map: HeaderMap) -> Self {
        Self { host, map }
    }

    /// The same map, to read.
    #[must_use]
    pub fn as_ref(&self) -> Headers<'_> {
        Headers::new(&*self.host, self.map)
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.as_ref().get(name)
    }

    /// Replaces all values of `name` by one.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeaderError> {
        self.host
            .set_header(self.map, name.as_bytes(), value.as_ref())
    }

    /// Adds a value of `name` after those that are there.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeaderError> {
        self.host
            .add_header(self.map, name.as_bytes(), value.as_ref())
    }

    /// Removes all values of `name`; says how many there were.
    pub fn remove(&mut self, name: &str) -> Result<usize, HeaderError> {
        self.host.remove_header(self.map, name.as_bytes())
    }
}

/// The bytes that a body callback shows, to read: what was kept at this filter and what has come.
#[derive(Clone, Copy)]
pub struct Body<'a> {
    host: &'a dyn BodyHost,
    direction: Direction,
}

impl<'a> Body<'a> {
    /// A view of the bytes of `direction` in `host`.
    #[must_use]
    pub fn new(host: &'a dyn BodyHost, direction: Direction) -> Self {
        Self { host, direction }
    }

    /// How many bytes are shown.
    #[must_use]
    pub fn len(&self) -> usize {
        self.host.body_len(self.direction)
    }

    /// True when nothing is shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, piece by piece, as the host holds them.
    pub fn chunks(&self) -> impl Iterator<Item = Cow<'a, [u8]>> + use<'a> {
        let Self { host, direction } = *self;
        (0..).map_while(move |index| host.body_chunk(direction, index))
    }

    /// The bytes in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        for chunk in self.chunks() {
            all.extend_from_slice(&chunk);
        }
        all
    }
}

/// The bytes that a body callback shows, to read and to change.
pub struct BodyMut<'a> {
    host: &'a mut dyn BodyHost,
    direction: Direction,
}

impl<'a> BodyMut<'a> {
    /// A view of the bytes of `direction` in `host`.
    #[must_use]
    pub fn new(host: &'a mut dyn BodyHost, direction: Direction) -> Self {
        Self { host, direction }
    }

    /// The same bytes, to read.
    #[must_use]
    pub fn as_ref(&self) -> Body<'_> {
        Body::new(&*self.host, self.direction)
    }

    /// Replaces all that is shown.
    pub fn replace(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), BodyError> {
        let len = self.host.body_len(self.direction);
        self.splice(0..len, bytes)
    }

    /// Replaces the bytes in `range`.
    pub fn splice(
        &mut self,
        range: Range<usize>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<(), BodyError> {
        self.host.splice_body(self.direction, range, bytes.as_ref())
    }

    /// Adds bytes before what is shown.
    pub fn prepend(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), BodyError> {
        self.splice(0..0, bytes)
    }

    /// Adds bytes after what is shown.
    pub fn append(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), BodyError> {
        let len = self.host.body_len(self.direction);
        self.splice(len..len, bytes)
    }

    /// Drops all that is shown.
    pub fn clear(&mut self) -> Result<(), BodyError> {
        self.replace([])
    }
}

/// A header's name or value: bytes, borrowed where the host can lend them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Value<'a>(pub Cow<'a, [u8]>);

impl Value<'_> {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> Vec<u8> {
        self.0.into_owned()
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Value<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Value<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl fmt::Debug for HeadersMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl fmt::Debug for BodyMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "the message has no such header map",
            Self::Released => "the headers have left already",
            Self::InvalidName => "not a field name that this map can have",
            Self::InvalidValue => "not a value that this field can have",
            Self::Reserved => "framing and connection fields belong to the codec",
            Self::TooLarge => "the header map would grow over its limit",
        })
    }
}

impl std::error::Error for HeaderError {}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "no body is shown here",
            Self::OutOfRange => "the range lies outside of what is there",
            Self::LengthAnnounced => {
                "the body's length was announced already, and the filter did not say in wants() that it changes it"
            }
        })
    }
}

impl std::error::Error for BodyError {}
