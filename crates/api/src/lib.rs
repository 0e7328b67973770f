//! What a Transom extension is.

pub mod node;
pub mod schema;
pub mod suggest;
pub mod units;

pub use node::{Fields, Key, Node, NodeKind, ParseError, Span};
pub use schema::{Schema, Shape};
