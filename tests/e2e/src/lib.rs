//! What end-to-end tests need: the real data plane, raw clients before it and scripted upstreams behind it.
//!
//! - [`plane`]: a `Plane` is a running data plane with the built-in and the test filters;
//! - [`client`]: a connection that sends bytes as they are and reads answers;
//! - [`upstream`]: a server whose answers the test writes;
//! - [`tls`]: authorities, certificates, and both ends with TLS;
//! - [`datagrams`]: a client and a server for datagrams;
//! - [`sockets`]: sockets that reset, that never answer, that come from a certain address;
//! - [`message`]: an HTTP/1 message as it was read from the wire, framing and all.
//!
//! Everything waits for events with a deadline; nothing sleeps to let something else happen first.

pub mod client;
pub mod datagrams;
pub mod message;
pub mod plane;
pub mod sockets;
pub mod tls;
pub mod upstream;

use std::time::{Duration, Instant};

pub use client::Client;
pub use datagrams::{UdpClient, UdpUpstream};
pub use message::Message;
pub use plane::{Plane, Setup};
pub use upstream::Upstream;

/// How long anything may take before a test fails: far longer than it ever does.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Looks again and again until `look` finds something: for what nobody tells.
///
/// # Panics
/// When that takes longer than [`PATIENCE`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
