//! What a connection to a host was made for: another request may use it only if it would make the same.

use std::rc::{Rc, Weak};

use crate::stream::info::ConnectionInfo;
use crate::tls::TlsIdentity;

/// What a connection to a host was made for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    /// What its TLS was made with.
    pub(crate) tls: TlsIdentity,
    /// The client's connection that the host was told of (`proxy_protocol`). It is not held: when it has ended, so may this.
    pub(crate) client: Option<Weak<ConnectionInfo>>,
}

impl Identity {
    /// Whether it is for a client's connection that has ended.
    pub(crate) fn is_orphan(&self) -> bool {
        let client = self.client.as_ref();
        client.is_some_and(|client| client.strong_count() == 0)
    }

    /// The client's connection, as long as it lasts.
    pub(crate) fn client(&self) -> Option<Rc<ConnectionInfo>> {
        self.client.as_ref()?.upgrade()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let same_client = match (&self.client, &other.client) {
            // As long as one of the two is there, no other connection is at its address.
            (Some(mine), Some(others)) => mine.ptr_eq(others),
            (None, None) => true,
            _ => false,
        };
        same_client && self.tls == other.tls
    }
}
