//! The built-in stream filters, and below [`network`] and [`selector`] the built-in network filters and selectors.
//!
//! Each is one file here and one line in [`register`]; each sees nothing but `transom-api`, so what is built in can do
//! no more than what a plugin can.
//!
//! - [`basic_auth`]: lets only users with a password pass;
//! - [`mod@buffer`]: keeps requests back until they are whole;
//! - [`compressor`]: compresses responses for clients that accept it;
//! - [`cors`]: tells browsers which other sites' pages may use what is here;
//! - [`fault`]: delays requests and answers them with an error, by chance;
//! - [`header_match`]: lets only requests with certain headers pass;
//! - [`header_mutation`]: sets, adds and removes headers;
//! - [`header_to_metadata`]: puts values of headers into dynamic metadata;
//! - [`health_check`]: answers the requests by which load balancers ask whether this proxy is well;
//! - [`ip_access`]: lets requests pass by the client's address;
//! - [`mirror`]: sends copies of requests to another cluster;
//! - [`noop`]: looks at headers and does nothing;
//! - [`payload_limit`]: refuses requests whose body is too large;
//! - [`rate_limit`]: lets so many requests pass in a time.
//!
//! The selectors, which choose a host of a cluster, are in [`selector`].

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod basic_auth;
pub mod buffer;
pub mod compressor;
pub mod cors;
pub mod fault;
pub mod header_match;
pub mod header_mutation;
mod header_name;
pub mod header_to_metadata;
pub mod health_check;
pub mod ip_access;
pub mod listener;
pub mod mirror;
pub mod network;
pub mod noop;
pub mod payload_limit;
mod random;
pub mod rate_limit;
mod required_headers;
pub mod selector;
mod source_ip;
mod tunnel;
mod vary;

use transom_api::{DuplicateExtension, Registry};

/// Puts all built-in extensions into a registry, under the names of the configuration.
pub fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register_builtin::<basic_auth::BasicAuth>("basic_auth")?;
    registry.register_builtin::<buffer::Buffer>("buffer")?;
    registry.register_builtin::<compressor::Compressor>("compressor")?;
    registry.register_builtin::<cors::Cors>("cors")?;
    registry.register_builtin::<fault::Fault>("fault")?;
    registry.register_builtin::<header_match::HeaderMatch>("header_match")?;
    registry.register_builtin::<header_match::HeaderMatch>("demo")?;
    registry.register_builtin::<header_mutation::HeaderMutation>("header_mutation")?;
    registry.register_builtin::<header_to_metadata::HeaderToMetadata>("header_to_metadata")?;
    registry.register_builtin::<health_check::HealthCheck>("health_check")?;
    registry.register_builtin::<ip_access::IpAccess>("ip_access")?;
    registry.register_builtin::<mirror::Mirror>("mirror")?;
    registry.register_builtin::<noop::Noop>("noop")?;
    registry.register_builtin::<payload_limit::PayloadLimit>("payload_limit")?;
    registry.register_builtin::<rate_limit::RateLimit>("rate_limit")?;
    listener::register(registry)?;
    network::register(registry)?;
    selector::register(registry)
}

/// The blocks of Rust in the book's chapter on writing filters, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-filters.md")]
pub struct WritingFilters;
