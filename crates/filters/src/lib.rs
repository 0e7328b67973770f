//! The built-in stream filters.
//!
//! Each is one file here and one line in [`register`]; each sees nothing but `transom-api`, so what is built in can do
//! no more than what a plugin can.
//!
//! - [`fault`]: delays requests and answers them with an error, by chance;
//! - [`header_match`]: lets only requests with certain headers pass;
//! - [`header_mutation`]: sets, adds and removes headers;
//! - [`noop`]: looks at headers and does nothing.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod fault;
pub mod header_match;
pub mod header_mutation;
pub mod noop;
mod required_headers;

use transom_api::{DuplicateExtension, Registry};

/// Puts all built-in stream filters into a registry, under the names of the configuration.
pub fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register_builtin::<fault::Fault>("fault")?;
    registry.register_builtin::<header_match::HeaderMatch>("header_match")?;
    registry.register_builtin::<header_match::HeaderMatch>("demo")?;
    registry.register_builtin::<header_mutation::HeaderMutation>("header_mutation")?;
    registry.register_builtin::<noop::Noop>("noop")?;
    Ok(())
}

/// The blocks of Rust in the book's chapter on writing filters, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-filters.md")]
pub struct WritingFilters;
