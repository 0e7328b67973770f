//! What an extension's configuration looks like, as a value: the substance of a JSON Schema without its machinery.
//!
//! `transom schema` turns it into JSON Schema for editors; the book's tables are made from it.

use crate::node::Node;

/// The shape of one value of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// What kind of value.
    pub shape: Shape,
    /// What it is for: unit, default, effect. One or two sentences.
    pub description: String,
    /// The value that holds when it is left out.
    pub default: Option<Node>,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Anything.
    Any,
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second bound.
    Integer(i64, i64),
    /// A number from the first to the second bound.
    Number(f64, f64),
    /// Text.
    String,
    /// A duration (`100ms`).
    Duration,
    /// A size in bytes (`64KiB`).
    Size,
    /// One of these words.
    OneOf(Vec<&'static str>),
    /// A list of such values.
    List(Box<Schema>),
    /// A map with known keys: name, whether it must be there, shape.
    Object(Vec<(&'static str, bool, Schema)>),
    /// A map with free keys to such values.
    MapOf(Box<Schema>),
}

impl Schema {
    /// A shape without a description.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            description: String::new(),
            default: None,
        }
    }

    /// A map with known keys; add them with [`Schema::required`] and [`Schema::optional`].
    #[must_use]
    pub fn object() -> Self {
        Self::new(Shape::Object(Vec::new()))
    }

    /// Text.
    #[must_use]
    pub fn string() -> Self {
        Self::new(Shape::String)
    }

    /// A list of `item`s.
    #[must_use]
    pub fn list(item: Schema) -> Self {
        Self::new(Shape::List(Box::new(item)))
    }

    /// A map from any key to `value`.
    #[must_use]
    pub fn map_of(value: Schema) -> Self {
        Self::new(Shape::MapOf(Box::new(value)))
    }

    /// The same with a description.
    #[must_use]
    pub fn describe(mut self, description: &str) -> Self {
        description.clone_into(&mut self.description);
        self
    }

    /// The same with a default.
    #[must_use]
    pub fn or(mut self, default: impl Into<Node>) -> Self {
        self.default = Some(default.into());
        self
    }

    /// An object with one more key that must be there. Other shapes are left as they are.
    #[must_use]
    pub fn required(self, name: &'static str, schema: Schema) -> Self {
        self.key(name, true, schema)
    }

    /// An object with one more key that may be left out. Other shapes are left as they are.
    #[must_use]
    pub fn optional(self, name: &'static str, schema: Schema) -> Self {
        self.key(name, false, schema)
    }

    fn key(mut self, name: &'static str, required: bool, schema: Schema) -> Self {
        if let Shape::Object(keys) = &mut self.shape {
            keys.push((name, required, schema));
        }
        self
    }
}
