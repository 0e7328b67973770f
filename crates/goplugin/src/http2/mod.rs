//! HTTP/2 as gRPC needs it, straight on the `h2` crate: [`Channel`] calls, [`Server`] answers.
//!
//! `tonic`'s own transport puts a buffer, a reconnecting pool and a second HTTP layer between a call and the socket; here a call
//! writes its frames into the connection directly, and each connection belongs to the runtime that opened it.

mod body;
mod channel;
mod coalesced;
mod pump;
mod server;
mod status;
mod timeout;

pub use body::IncomingBody;
pub use channel::Channel;
pub(crate) use channel::Dialer;
pub(crate) use server::{Presence, Server};

/// Window of a stream, 1 MiB: a message of go-plugin's default limit of 4 MiB passes in a few round trips, and one stream cannot
/// take more memory than that while its reader sleeps.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// Window of a connection, 4 MiB: four streams at full speed.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Largest list of header fields, 16 MiB, grpc-go's own limit: status messages travel in trailers, and Go's may be long.
const MAX_HEADER_LIST: u32 = 16 * 1024 * 1024;

/// Calls that a server takes at a time on one connection; further ones wait at the client.
const MAX_CONCURRENT_CALLS: u32 = 4096;

/// Calls given up that a connection remembers at a time. `h2` ends a connection after twenty that were given up before they were taken, to
/// stop a stranger's rapid resets (CVE-2023-44487); the two sides here are no strangers, and a host that drops a burst of calls must not
/// lose all the others.
const MAX_GIVEN_UP: usize = MAX_CONCURRENT_CALLS as usize;
