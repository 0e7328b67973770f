//! `memory`: services that were registered in this process. Listeners register themselves, extensions and tests do as they
//! like; whoever has not been heard of for its time to live is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use transom_api::certificate_provider::Provide;
use transom_api::{
    Discovered, Node, ParseError, PrepareContext, PrepareError, Schema, ServiceEntry, ServiceHost,
    ServiceRegistry,
};

use crate::builtin::Builtin;

/// The registry of the process.
#[derive(Clone, Debug)]
pub struct Memory;

#[derive(Debug)]
struct Known {
    /// By service and node: where it is, and until when.
    entries: Mutex<BTreeMap<(String, String), (String, Instant)>>,
    changed: watch::Sender<u64>,
}

impl Builtin for Memory {
    fn schema() -> Schema {
        Schema::object().describe("Services that were registered in this process.")
    }

    fn parse(config: &Node) -> Result<Self, ParseError> {
        if !config.is_null() {
            config.as_fields()?.finish()?;
        }
        Ok(Self)
    }

    fn prepare(&self, context: &PrepareContext) -> Result<Arc<dyn ServiceRegistry>, PrepareError> {
        let known = context.keep("registry/memory", || Known {
            entries: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        Ok(known)
    }
}

impl Known {
    /// The hosts of a service, and when the first of them is gone if nothing is heard of it.
    fn of(&self, service: &str) -> (Vec<ServiceHost>, Option<Instant>) {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, (_, until)| *until > now);
        let mut first = None;
        let hosts = entries.iter().filter(|((of, _), _)| of == service);
        let hosts = hosts.map(|(_, (address, until))| {
            first = Some(first.map_or(*until, |first: Instant| first.min(*until)));
            ServiceHost::new(address)
        });
        (hosts.collect(), first)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<(String, String), (String, Instant)>)) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut entries);
        drop(entries);
        self.changed.send_modify(|version| *version += 1);
    }
}

impl ServiceRegistry for Known {
    fn watch(self: Arc<Self>, service: String, hosts: Discovered) -> Provide<()> {
        Box::pin(async move {
            let mut changed = self.changed.subscribe();
            loop {
                let (known, until) = self.of(&service);
                hosts.tell(known);
                let gone = async {
                    match until {
                        Some(until) => sleep_until(until).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    // The sender lives as long as this does.
                    _ = changed.changed() => {}
                    () = gone => {}
                }
            }
        })
    }

    fn register(self: Arc<Self>, entry: ServiceEntry) -> Provide<()> {
        let until = Instant::now() + entry.ttl;
        self.change(|entries| {
            entries.insert((entry.service, entry.node), (entry.address, until));
        });
        Box::pin(std::future::ready(Ok(())))
    }

    fn deregister(self: Arc<Self>, entry: ServiceEntry) -> Provide<()> {
        self.change(|entries| {
            entries.remove(&(entry.service, entry.node));
        });
        Box::pin(std::future::ready(Ok(())))
    }
}
