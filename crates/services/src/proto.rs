//! The messages of Envoy's services, as generated from `sdk/proto/envoy`, whose comments say what they mean.

#![allow(missing_docs, unreachable_pub)]
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

include!(concat!(env!("OUT_DIR"), "/proto.rs"));

pub use envoy::config::core::v3 as core;
pub use envoy::data::accesslog::v3 as accesslog;
pub use envoy::service::accesslog::v3 as als;
pub use envoy::service::auth::v3 as auth;
pub use envoy::service::ext_proc::v3 as ext_proc;
