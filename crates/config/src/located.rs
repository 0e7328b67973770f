//! A value that remembers where it was written.

use std::fmt;
use std::ops::Deref;

use transom_api::Span;

/// A value and the place it was read from, for checks that can only be made when everything is read.
///
/// Places are no part of what a configuration means: equality ignores them.
#[derive(Clone, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands; `None` when the source knows no places.
    pub span: Option<Span>,
}

impl<T> Located<T> {
    /// A value without a place.
    pub const fn new(value: T) -> Self {
        Self { value, span: None }
    }

    /// A value at a place.
    pub const fn at(value: T, span: Option<Span>) -> Self {
        Self { value, span }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: fmt::Debug> fmt::Debug for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
