//! Hosts that clients choose: where they wanted to go.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use transom_config::{HostAddress, OriginalDst};

use super::{Host, WorkerCluster, WorkerHost};
use crate::stream::info::ConnectionInfo;

/// A worker has no more of them at once: clients could have it go anywhere.
const MOST: usize = 10_000;

/// The hosts of a worker that clients have chosen. They are not shared with other workers, and are there as long as they are used.
pub(super) type Chosen = RefCell<HashMap<SocketAddr, Rc<WorkerHost>>>;

impl WorkerCluster {
    /// The host for the next request of a client, which was `tried` with these hosts already. `None` when no host is available, or
    /// the client did not say where it wants to go.
    pub(crate) fn pick_for(
        &self,
        client: &ConnectionInfo,
        tried: &[Rc<WorkerHost>],
    ) -> Option<Rc<WorkerHost>> {
        match &self.prepared.config.original_dst {
            None => self.pick(tried),
            // Without a way here that the kernel has turned it would be the proxy itself.
            Some(original) => self.chosen(original, *client.original.as_deref()?),
        }
    }

    fn chosen(&self, original: &OriginalDst, mut address: SocketAddr) -> Option<Rc<WorkerHost>> {
        if !original.allows(address.ip()) {
            return None;
        }
        if let Some(port) = original.port {
            address.set_port(port);
        }
        let mut chosen = self.chosen.borrow_mut();
        if let Some(known) = chosen.get(&address) {
            return Some(Rc::clone(known));
        }
        if chosen.len() >= MOST {
            chosen.retain(|_, host| is_used(host));
        }
        if chosen.len() >= MOST {
            tracing::debug!(cluster = &*self.name, "it has too many hosts at once");
            return None;
        }
        let host = Arc::new(Host::new(HostAddress::Tcp(address)));
        let host = Rc::new(WorkerHost::new(host, &self.prepared));
        chosen.insert(address, Rc::clone(&host));
        Some(host)
    }

    /// Forgets hosts that nobody uses any more.
    pub(crate) fn forget_unused(&self) {
        self.chosen.borrow_mut().retain(|_, host| is_used(host));
    }

    /// All hosts that there are at this moment.
    pub(crate) fn all_hosts(&self) -> Vec<Rc<WorkerHost>> {
        let chosen = self.chosen.borrow();
        self.hosts
            .iter()
            .chain(chosen.values())
            .map(Rc::clone)
            .collect()
    }
}

fn is_used(host: &Rc<WorkerHost>) -> bool {
    Rc::strong_count(host) > 1 || host.idle() > 0
}

#[cfg(test)]
mod tests {
    use super::super::testing::prepared;
    use super::*;

    fn cluster(original: OriginalDst) -> WorkerCluster {
        let mut prepared = prepared(0);
        Arc::make_mut(&mut prepared.config).original_dst = Some(original);
        WorkerCluster::new(Arc::new(prepared), 0, None)
    }

    fn client(original: Option<&str>) -> ConnectionInfo {
        ConnectionInfo {
            original: original.map(|address| Box::new(address.parse().unwrap())),
            destination: Some("127.0.0.1:1".parse().unwrap()),
            ..ConnectionInfo::of_nobody()
        }
    }

    #[test]
    fn a_host_is_where_the_client_wanted_to_go() {
        let cluster = cluster(OriginalDst::default());
        let first = cluster
            .pick_for(&client(Some("192.0.2.1:80")), &[])
            .unwrap();
        assert_eq!(first.host.text, "192.0.2.1:80");
        let again = cluster
            .pick_for(&client(Some("192.0.2.1:80")), &[])
            .unwrap();
        assert!(Rc::ptr_eq(&first, &again));
        assert!(cluster.pick_for(&client(None), &[]).is_none());
        let _other = cluster
            .pick_for(&client(Some("192.0.2.1:81")), &[])
            .unwrap();
        assert_eq!(cluster.all_hosts().len(), 2);
        drop((again, _other));
        cluster.forget_unused();
        assert_eq!(cluster.all_hosts().len(), 1);
    }

    #[test]
    fn clients_are_brought_only_where_they_may_go() {
        let cluster = cluster(OriginalDst {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            port: Some(8080),
        });
        let host = cluster
            .pick_for(&client(Some("192.0.2.9:80")), &[])
            .unwrap();
        assert_eq!(host.host.text, "192.0.2.9:8080");
        assert!(
            cluster
                .pick_for(&client(Some("127.0.0.1:80")), &[])
                .is_none()
        );
    }

    #[test]
    fn there_is_an_end_to_the_hosts_that_clients_can_choose() {
        let cluster = cluster(OriginalDst::default());
        let pick = |port: usize| {
            let address = format!("10.{}.{}.1:80", port / 250, port % 250);
            cluster.pick_for(&client(Some(&address)), &[])
        };
        let held: Vec<_> = (0..MOST).map(|port| pick(port).unwrap()).collect();
        assert!(pick(MOST).is_none());
        drop(held);
        assert!(pick(MOST).is_some());
        assert_eq!(cluster.all_hosts().len(), 1);
    }
}
