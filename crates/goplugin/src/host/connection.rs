//! What the host's side of a started plugin is made of.

use crate::broker::GrpcBroker;
use crate::http2::Channel;

/// The connection to a plugin, as its makers of clients see it.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) channel: Channel,
    pub(super) broker: GrpcBroker,
    pub(super) version: i32,
}

impl Connection {
    /// The gRPC connection, for `tonic`'s generated clients.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The broker, for further connections in either direction.
    pub fn broker(&self) -> &GrpcBroker {
        &self.broker
    }

    /// The version that the plugin chose: Go's `NegotiatedVersion`.
    pub fn version(&self) -> i32 {
        self.version
    }
}
