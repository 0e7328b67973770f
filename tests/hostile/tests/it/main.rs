//! Inputs that are known to divide proxies.
//!
//! [`hostile`] sends the rows of `rows.json` through the running data plane and looks at all three sides: what the client
//! is answered, whether its connection goes on, and byte for byte what reached the upstream. [`against_hyper`] holds the
//! codec against another parser, with the same rows, messages of its own, and mutations of both.
//! [`desync_guardian`] does the same as [`hostile`] with the cases of a crate that others wrote.

mod against_hyper;
mod client;
mod desync_guardian;
mod hostile;
mod hyper_server;
mod mutation;
mod proxy;
mod table;
mod transom_codec;
mod upstream;
