//! Tree to typed values: a serde deserializer over [`Node`]s.
//!
//! Three things are its own. Errors get the place of the innermost node they arose in, and say the same sentences as
//! [`Node`]'s own readers. Problems are collected: a reader of [`Tried`] values and unknown keys goes on after one. And
//! [`Located`] and [`Verbatim`] values get at places and nodes, which serde's data model has no room for.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use transom_api::node::known;
use transom_api::{Key, Node, NodeKind, ParseError, Span};

use crate::Located;
use crate::problems::Problems;

/// Reads `node` as a `T`. `None` when it is none; the problems say why. Problems may be added all the same when it is.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, problems: &mut Problems) -> Option<T> {
    let collected = RefCell::new(std::mem::take(problems));
    let result = T::deserialize(Reader::new(node, &collected))
        .map_err(|error| error.record(node.span, &collected));
    *problems = collected.into_inner();
    result.ok()
}

/// A value that may be wrong without stopping what is around it: `None` when it is, and a problem says why.
#[derive(Clone, Debug)]
pub(crate) struct Tried<T>(pub(crate) Option<T>);

/// A node as it was written, for whoever reads it later.
#[derive(Clone, Debug)]
pub(crate) struct Verbatim(pub(crate) Node);

/// Where these types announce themselves to [`Reader`]; in no other format can they be read.
const TRIED: &str = "\0tried";
const LOCATED: &str = "\0located";

/// Reads one node.
#[derive(Clone, Copy)]
struct Reader<'n> {
    node: &'n Node,
    problems: &'n RefCell<Problems>,
}

/// Why a node could not be read.
#[derive(Debug)]
enum Error {
    /// Not yet told.
    New(ParseError),
    /// Already among the problems; only the way out is left.
    Recorded,
}

impl Error {
    /// Puts the error among the problems, at `span` unless it has a better place.
    fn record(self, span: Option<Span>, problems: &RefCell<Problems>) -> Self {
        if let Self::New(error) = self {
            problems.borrow_mut().push(error.or_at(span));
        }
        Self::Recorded
    }
}

impl<'n> Reader<'n> {
    fn new(node: &'n Node, problems: &'n RefCell<Problems>) -> Self {
        Self { node, problems }
    }

    /// Another node, read with `seed`; an error is recorded at that node.
    fn nested<'de, S: DeserializeSeed<'de>>(
        self,
        node: &'n Node,
        seed: S,
    ) -> Result<S::Value, Error>
    where
        'n: 'de,
    {
        seed.deserialize(Reader { node, ..self })
            .map_err(|error| error.record(node.span, self.problems))
    }

    /// Records the keys that are not among `fields`. True when there are none.
    fn check_keys(self, entries: &[(Key, Node)], fields: &[&str]) -> bool {
        let mut all_known = true;
        for (key, _) in entries
            .iter()
            .filter(|(key, _)| !fields.contains(&key.name.as_str()))
        {
            all_known = false;
            let error = ParseError {
                message: format!("unknown key `{}`", key.name),
                span: key.span.or(self.node.span),
                help: Some(known(&key.name, "keys", fields)),
            };
            self.problems.borrow_mut().push(error);
        }
        all_known
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.node.as_integer()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            NodeKind::Null => visitor.visit_unit(),
            NodeKind::Bool(value) => visitor.visit_bool(*value),
            NodeKind::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_i128(*value),
            },
            NodeKind::Float(value) => visitor.visit_f64(*value),
            NodeKind::String(text) => visitor.visit_borrowed_str(text),
            NodeKind::List(items) => visitor.visit_seq(Items {
                reader: self,
                items,
            }),
            NodeKind::Map(entries) => visitor.visit_map(Entries::new(self, entries, false)),
        }
    }

    integers! {
        deserialize_u8 visit_u8;
        deserialize_u16 visit_u16;
        deserialize_u32 visit_u32;
        deserialize_u64 visit_u64;
        deserialize_u128 visit_u128;
        deserialize_i8 visit_i8;
        deserialize_i16 visit_i16;
        deserialize_i32 visit_i32;
        deserialize_i64 visit_i64;
        deserialize_i128 visit_i128;
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.node.as_bool()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.node.as_number()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.node.as_str()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = self.node.as_list()?;
        visitor.visit_seq(Items {
            reader: self,
            items,
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = self.node.as_entries()?;
        visitor.visit_map(Entries::new(self, entries, false))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = self.node.as_entries()?;
        let all_known = self.check_keys(entries, fields);
        let result = visitor.visit_map(Entries {
            only: Some(fields),
            ..Entries::new(self, entries, true)
        });
        match result {
            // What is missing was most likely meant by the key that is unknown.
            Err(Error::New(_)) if !all_known => Err(Error::Recorded),
            result => result,
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.node.as_str()?;
        if !variants.contains(&text) {
            let error = self.node.error(format!("unknown value `{text}`"));
            return Err(Error::New(error.with_help(known(text, "values", variants))));
        }
        visitor.visit_enum(Word(text))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            TRIED => visitor.visit_seq(Items {
                reader: self,
                items: std::slice::from_ref(self.node),
            }),
            LOCATED => visitor.visit_seq(Place {
                reader: self,
                told: false,
            }),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The items of a list. An item that cannot be read is recorded, and the next can be asked for.
struct Items<'n> {
    reader: Reader<'n>,
    items: &'n [Node],
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some((item, rest)) = self.items.split_first() else {
            return Ok(None);
        };
        self.items = rest;
        self.reader.nested(item, seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The entries of a map.
struct Entries<'n> {
    reader: Reader<'n>,
    entries: std::slice::Iter<'n, (Key, Node)>,
    value: Option<&'n Node>,
    /// Passes over the other keys.
    only: Option<&'static [&'static str]>,
    /// Passes over keys without a value: `key:` means that it is left out.
    skip_null: bool,
}

impl<'n> Entries<'n> {
    fn new(reader: Reader<'n>, entries: &'n [(Key, Node)], skip_null: bool) -> Self {
        Self {
            reader,
            entries: entries.iter(),
            value: None,
            only: None,
            skip_null,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let (only, skip_null) = (self.only, self.skip_null);
        let is_wanted = |(key, value): &&(Key, Node)| {
            only.is_none_or(|fields| fields.contains(&key.name.as_str()))
                && !(skip_null && value.is_null())
        };
        let Some((key, value)) = self.entries.find(is_wanted) else {
            return Ok(None);
        };
        self.value = Some(value);
        let key_reader = KeyReader(key);
        seed.deserialize(key_reader)
            .map(Some)
            .map_err(|error| error.record(key.span, self.reader.problems))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(value) => self.reader.nested(value, seed),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A key: text, perhaps with its place.
struct KeyReader<'n>(&'n Key);

impl<'de> Deserializer<'de> for KeyReader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(&self.0.name)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == LOCATED {
            return visitor.visit_seq(KeyPlace {
                key: self.0,
                told: false,
            });
        }
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What a [`Located`] reads: a place, then the value at it.
struct Place<'n> {
    reader: Reader<'n>,
    told: bool,
}

impl<'de> SeqAccess<'de> for Place<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if std::mem::replace(&mut self.told, true) {
            return seed.deserialize(self.reader).map(Some);
        }
        seed.deserialize(place(self.reader.node.span)).map(Some)
    }
}

/// The same for a key.
struct KeyPlace<'n> {
    key: &'n Key,
    told: bool,
}

impl<'de> SeqAccess<'de> for KeyPlace<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if std::mem::replace(&mut self.told, true) {
            let name = BorrowedStrDeserializer::<Error>::new(&self.key.name);
            return seed.deserialize(name).map(Some);
        }
        seed.deserialize(place(self.key.span)).map(Some)
    }
}

/// A place as a list of its numbers, empty when it is not known.
fn place(span: Option<Span>) -> SeqDeserializer<std::vec::IntoIter<u32>, Error> {
    let numbers = span.map(|span| vec![span.source, span.offset, span.len, span.line, span.column]);
    SeqDeserializer::new(numbers.unwrap_or_default().into_iter())
}

/// A word out of a fixed set.
struct Word<'n>(&'n str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Error> {
        Err(de::Error::custom(format_args!(
            "`{}` is only a word",
            self.0
        )))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Error> {
        Err(de::Error::custom(format_args!(
            "`{}` is only a word",
            self.0
        )))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        Err(de::Error::custom(format_args!(
            "`{}` is only a word",
            self.0
        )))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tried<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for One<T> {
            type Value = Tried<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut one: A) -> Result<Tried<T>, A::Error> {
                // `Items` has recorded the error.
                Ok(Tried(one.next_element().ok().flatten()))
            }
        }
        deserializer.deserialize_newtype_struct(TRIED, One(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Two<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Two<T> {
            type Value = Located<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value and its place")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut two: A) -> Result<Located<T>, A::Error> {
                let numbers: Vec<u32> = two.next_element()?.unwrap_or_default();
                let span = match *numbers.as_slice() {
                    [source, offset, len, line, column] => Some(Span {
                        source,
                        offset,
                        len,
                        line,
                        column,
                    }),
                    _ => None,
                };
                match two.next_element()? {
                    Some(value) => Ok(Located { value, span }),
                    None => Err(de::Error::custom("there is no value")),
                }
            }
        }
        deserializer.deserialize_newtype_struct(LOCATED, Two(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Verbatim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Located { value, span } = Located::<Kind>::deserialize(deserializer)?;
        Ok(Self(Node {
            kind: value.0,
            span,
        }))
    }
}

/// The kind of a node, read out of any value.
struct Kind(NodeKind);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Kind, E> {
                Ok(Kind(NodeKind::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
                Ok(Kind(NodeKind::Bool(value)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
                Ok(Kind(NodeKind::Integer(value.into())))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
                Ok(Kind(NodeKind::Integer(value.into())))
            }

            fn visit_i128<E>(self, value: i128) -> Result<Kind, E> {
                Ok(Kind(NodeKind::Integer(value)))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
                Ok(Kind(NodeKind::Float(value)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
                Ok(Kind(NodeKind::String(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
                let mut list = Vec::new();
                while let Some(Verbatim(node)) = items.next_element()? {
                    list.push(node);
                }
                Ok(Kind(NodeKind::List(list)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
                let mut map = Vec::new();
                while let Some((name, Verbatim(node))) =
                    entries.next_entry::<Located<String>, _>()?
                {
                    let key = Key {
                        name: name.value,
                        span: name.span,
                    };
                    map.push((key, node));
                }
                Ok(Kind(NodeKind::Map(map)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Self {
        Self::New(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New(error) => error.fmt(f),
            Self::Recorded => f.write_str("a problem inside this value"),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    /// The text after a line feed is the remedy (see [`refuse`]): serde has no other way to hand it on.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        Self::New(match text.split_once('\n') {
            Some((message, help)) => ParseError::new(message).with_help(help),
            None => ParseError::new(text),
        })
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!(
            "expected {expected}, found {}",
            describe(unexpected)
        ))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let help = known(field, "keys", expected);
        Self::New(ParseError::new(format!("unknown key `{field}`")).with_help(help))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let help = known(variant, "values", expected);
        Self::New(ParseError::new(format!("unknown value `{variant}`")).with_help(help))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("the key `{field}` is missing"))
    }
}

/// Hands an error with its remedy through serde.
pub(crate) fn refuse<E: de::Error>(error: ParseError) -> E {
    match error.help {
        Some(help) => E::custom(format_args!("{}\n{help}", error.message)),
        None => E::custom(error.message),
    }
}

/// What was found, in the words of [`Node::describe`].
fn describe(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => Node::from(value).describe(),
        Unexpected::Unsigned(value) => Node::new(NodeKind::Integer(value.into())).describe(),
        Unexpected::Signed(value) => Node::from(value).describe(),
        Unexpected::Float(value) => Node::from(value).describe(),
        Unexpected::Str(text) => Node::from(text).describe(),
        Unexpected::Unit => Node::null().describe(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        // Only whole numbers wider than 64 bits come here.
        other => other.to_string(),
    }
}
