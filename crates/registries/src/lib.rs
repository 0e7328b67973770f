//! The built-in registries: where the hosts of a service are.
//!
//! - `static`: the configuration says it;
//! - [`mod@file`]: a file says it, which may change at any time;
//! - [`dns`]: records of type SRV, or addresses, for as long as their TTL says;
//! - [`memory`]: whoever in this process has registered;
//! - [`etcd`]: an etcd, in go-micro's layout of keys.
//!
//! Each is one file here and one line in [`register`]. They see nothing but `transom-api`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod builtin;
pub mod dns;
pub mod etcd;
pub mod file;
mod hosts;
pub mod memory;
pub mod r#static;

use transom_api::{DuplicateExtension, Registry, ServiceRegistries};

use self::builtin::factory;

/// Puts the built-in registries into the table of extensions.
pub fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register::<ServiceRegistries>("dns", factory::<dns::Dns>())?;
    registry.register::<ServiceRegistries>("etcd", factory::<etcd::Etcd>())?;
    registry.register::<ServiceRegistries>("file", factory::<file::Watched>())?;
    registry.register::<ServiceRegistries>("memory", factory::<memory::Memory>())?;
    registry.register::<ServiceRegistries>("static", factory::<r#static::Static>())
}
