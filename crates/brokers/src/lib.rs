//! The built-in brokers, and what publishes by way of any broker.
//!
//! - [`memory`]: topics within this process;
//! - [`nats`]: subjects of a NATS server;
//! - [`filter`]: the stream filter `publish`: requests become messages;
//! - [`log`]: the access log `publish`: a message for each stream.
//!
//! A filter names its broker as a cluster names its registry; which brokers there are it learns from [`Table`], which whoever
//! makes the registry fills when all have been put in.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod filter;
pub mod log;
pub mod memory;
pub mod nats;
mod table;
mod wire;

use std::sync::Arc;

use transom_api::{AccessLogs, Brokers, DuplicateExtension, Registry, StreamFilters};

pub use self::table::Table;

/// Puts the built-in brokers, the filter and the access log into a registry. What is returned must be
/// [filled](Table::fill) before they are used.
pub fn register(registry: &mut Registry) -> Result<Arc<Table>, DuplicateExtension> {
    let table = Arc::new(Table::default());
    registry.register::<Brokers>("memory", Arc::new(memory::MemoryFactory))?;
    registry.register::<Brokers>("nats", Arc::new(nats::NatsFactory))?;
    let filter = filter::PublishFactory::new(Arc::clone(&table));
    registry.register::<StreamFilters>("publish", Arc::new(filter))?;
    let log = log::PublishLogFactory::new(Arc::clone(&table));
    registry.register::<AccessLogs>("publish", Arc::new(log))?;
    Ok(table)
}
