//! The built-in stream filters.
//!
//! Each is one file here and one line in [`register`]; each sees nothing but `transom-api`, so what is built in can do
//! no more than what a plugin can.
//!
//! - [`header_match`]: lets only requests with certain headers pass;
//! - [`noop`]: looks at headers and does nothing.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod header_match;
pub mod noop;
mod required_headers;

use transom_api::{DuplicateExtension, Registry};

/// Puts all built-in stream filters into a registry, under the names of the configuration.
pub fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register_builtin::<header_match::HeaderMatch>("header_match")?;
    registry.register_builtin::<header_match::HeaderMatch>("demo")?;
    registry.register_builtin::<noop::Noop>("noop")?;
    Ok(())
}
