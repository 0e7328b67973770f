//! `transom.plugin.v1`, the host's side: what a plugin declared as `protocol: transom` is to the proxy.
//!
//! ```text
//!  control side    Running ─ Describe ─▶ what it has        Used ─ Prepare ─▶ each process, Release at the end
//!                                                             │ ready()
//!  each worker     Pool (one per use) ─▶ Link (one per process): a Work stream on the worker's own loop
//!                                          ▲ call(), tell()      │ answers, actions
//!  each stream     RemoteFilter ───────────┘ ◀── woken ──────────┘
//! ```
//!
//! No thread is crossed on the way of a request: filters write their messages into the link's buffer ([`wire`]), what has gathered there
//! leaves as one frame of HTTP/2, and the answers of one read wake their streams. What waits for an answer waits in the proxy.

mod actions;
mod batches;
mod certificates;
mod filters;
mod link;
mod logs;
mod most;
mod network;
mod pool;
mod stream;
mod uses;
mod wire;

pub(crate) use certificates::CertificateFactory;
pub(crate) use filters::{NetworkFactory, StreamFactory};
pub(crate) use logs::LogFactory;
pub(crate) use uses::{Cell, Running};
