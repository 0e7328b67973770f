//! Messages, clients and servers of the protocol's own services (package `plugin`), as generated from `proto/plugin.proto`.

#![allow(missing_docs, unreachable_pub)]
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

include!(concat!(env!("OUT_DIR"), "/plugin.rs"));

/// The encoded descriptors of these services; reflection serves them.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.bin"));
