//! A library's selector, as clusters ask it.

use std::sync::Arc;

use transom_abi::{self as abi, Handle, Object};
use transom_api::kind::Selectors;
use transom_api::selector::{
    Selector, SelectorConfig, SelectorHost, SelectorTable as OfHosts, SelectorView,
};
use transom_api::{PrepareContext, PrepareError};

use crate::configs::{Configured, Hosted};
use crate::current::{Choice, slice_of, with_choice};
use crate::error::LoadError;
use crate::load::Loaded;
use crate::news::News;
use crate::tables::{AnyTable, Check, Common, Prepare, Raw, Release, Table};

/// The functions of a selector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SelectorTable {
    all: abi::Selector,
    prepare: Prepare<abi::SelectorWants>,
    release: Release,
    select: unsafe extern "C" fn(Object, Handle) -> i64,
}

impl SelectorTable {
    pub(crate) fn new(all: abi::Selector, raw: &Raw<'_>) -> Result<Self, LoadError> {
        Ok(Self {
            prepare: raw.must(all.prepare, "prepare")?,
            release: raw.must(all.release, "release")?,
            select: raw.must(all.select, "select")?,
            all,
        })
    }
}

impl Table for SelectorTable {
    const KIND: abi::Kind = abi::SELECTOR;
    type Wants = abi::SelectorWants;
    type Wishes = ();

    fn common(&self) -> Common<abi::SelectorWants> {
        Common {
            check: Check::Plain(self.all.check),
            prepare: self.prepare,
            release: self.release,
            // Workers come to a table of hosts, not to the configuration.
            worker_start: None,
            worker_event: None,
            worker_end: None,
        }
    }

    fn wants(&self) -> abi::SelectorWants {
        abi::SelectorWants {
            size: size_of::<abi::SelectorWants>(),
        }
    }

    unsafe fn read(_wants: &abi::SelectorWants, _library: &Loaded) -> Result<(), PrepareError> {
        Ok(())
    }

    fn of(table: &AnyTable) -> Option<&Self> {
        match table {
            AnyTable::Selector(table) => Some(table),
            _ => None,
        }
    }
}

impl Hosted for SelectorTable {
    type Kind = Selectors;
    const LABEL: &'static str = "selector";

    fn config(
        configured: Configured<Self>,
        (): (),
        _context: &PrepareContext,
        _news: Option<News>,
    ) -> Result<Arc<dyn SelectorConfig>, PrepareError> {
        Ok(Arc::new(Config(Arc::new(configured))))
    }
}

/// A use that is ready.
struct Config(Arc<Configured<SelectorTable>>);

impl SelectorConfig for Config {
    fn table(&self, hosts: &[SelectorHost<'_>]) -> Arc<dyn OfHosts> {
        let shown: Vec<abi::SelectorHost> = hosts
            .iter()
            .map(|host| abi::SelectorHost {
                address: slice_of(host.address.as_bytes()),
                weight: host.weight,
                reserved: 0,
            })
            .collect();
        let object = match self.0.table.all.table_start {
            None => self.0.object,
            // SAFETY: The library's function, with an object of its own and a list that holds for the call.
            Some(start) => unsafe {
                start(
                    self.0.object,
                    shown.as_ptr(),
                    shown.len(),
                    size_of::<abi::SelectorHost>(),
                )
            },
        };
        Arc::new(Hosts(Arc::new(HostsObject {
            object,
            config: Arc::clone(&self.0),
        })))
    }
}

/// What the library has made of a list of hosts.
struct HostsObject {
    object: Object,
    config: Arc<Configured<SelectorTable>>,
}

// SAFETY: The border says that a table may be used from any worker, and ended on any thread.
unsafe impl Send for HostsObject {}
// SAFETY: As above.
unsafe impl Sync for HostsObject {}

impl Drop for HostsObject {
    fn drop(&mut self) {
        let table = &self.config.table.all;
        if let (Some(_), Some(end)) = (table.table_start, table.table_end) {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { end(self.object) };
        }
    }
}

struct Hosts(Arc<HostsObject>);

impl OfHosts for Hosts {
    fn on_worker(self: Arc<Self>, start: usize) -> Box<dyn Selector> {
        let hosts = Arc::clone(&self.0);
        let object = match hosts.config.table.all.selector_start {
            None => hosts.object,
            // SAFETY: The library's function, with an object of its own.
            Some(begin) => unsafe { begin(hosts.object, start) },
        };
        Box::new(OnWorker { object, hosts })
    }
}

/// A worker's selector.
struct OnWorker {
    object: Object,
    hosts: Arc<HostsObject>,
}

impl Drop for OnWorker {
    fn drop(&mut self) {
        let table = &self.hosts.config.table.all;
        if let (Some(_), Some(end)) = (table.selector_start, table.selector_end) {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { end(self.object) };
        }
    }
}

impl Selector for OnWorker {
    fn select(&self, hosts: &dyn SelectorView) -> Option<usize> {
        let select = self.hosts.config.table.select;
        // SAFETY: The library's function, with an object of its own and a handle.
        let index = with_choice(&Choice { hosts }, |handle| unsafe {
            select(self.object, handle)
        });
        usize::try_from(index).ok()
    }

    fn position(&self) -> usize {
        match self.hosts.config.table.all.position {
            // SAFETY: The library's function, with an object of its own.
            Some(position) => unsafe { position(self.object) },
            None => 0,
        }
    }
}
