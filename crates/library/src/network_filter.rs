//! A library's network filter, as the data plane calls it.

use std::rc::Rc;
use std::sync::Arc;

use transom_abi::{self as abi, Object};
use transom_api::event::{Event, ResetReason};
use transom_api::kind::NetworkFilters;
use transom_api::network::{NetworkFilterConfig, NetworkFilterWorker, NetworkWants};
use transom_api::{
    BuildError, Connection, FilterError, NetworkFilter, NetworkVerdict, PrepareContext,
    PrepareError, Worker, WorkerPart,
};

use crate::configs::{Configured, Hosted, WorkerObject, clusters_of};
use crate::current::with_connection;
use crate::error::LoadError;
use crate::events::{reason_number, with_event};
use crate::load::Loaded;
use crate::news::News;
use crate::tables::{AnyTable, Check, Common, Prepare, Raw, Release, Start, Table};

/// The functions of a network filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkFilterTable {
    all: abi::NetworkFilter,
    prepare: Prepare<abi::NetworkWants>,
    release: Release,
    connection_start: Start,
}

/// Bits of [`abi::NetworkWants::callbacks`].
const DATA: u32 = 1;
const WRITE: u32 = 2;

impl NetworkFilterTable {
    pub(crate) fn new(all: abi::NetworkFilter, raw: &Raw<'_>) -> Result<Self, LoadError> {
        Ok(Self {
            prepare: raw.must(all.prepare, "prepare")?,
            release: raw.must(all.release, "release")?,
            connection_start: raw.must(all.connection_start, "connection_start")?,
            all,
        })
    }
}

impl Table for NetworkFilterTable {
    const KIND: abi::Kind = abi::NETWORK_FILTER;
    type Wants = abi::NetworkWants;
    type Wishes = (NetworkWants, Vec<String>);

    fn common(&self) -> Common<abi::NetworkWants> {
        Common {
            check: Check::Plain(self.all.check),
            prepare: self.prepare,
            release: self.release,
            worker_start: self.all.worker_start,
            worker_event: self.all.worker_event,
            worker_end: self.all.worker_end,
        }
    }

    fn wants(&self) -> abi::NetworkWants {
        let bit = |is_there, bit| if is_there { bit } else { 0 };
        abi::NetworkWants {
            size: size_of::<abi::NetworkWants>(),
            callbacks: bit(self.all.data.is_some(), DATA) | bit(self.all.write.is_some(), WRITE),
            reserved: 0,
            clusters: std::ptr::null(),
            cluster_count: 0,
        }
    }

    unsafe fn read(
        wants: &abi::NetworkWants,
        library: &Loaded,
    ) -> Result<Self::Wishes, PrepareError> {
        if wants.callbacks & !(DATA | WRITE) != 0 {
            return Err(PrepareError::new(format!(
                "{library} asks for callbacks with the bits {:#x}, of which some are unknown: it was made for a newer host",
                wants.callbacks
            )));
        }
        let wishes = NetworkWants {
            data: wants.callbacks & DATA != 0,
            write: wants.callbacks & WRITE != 0,
        };
        // SAFETY: Promised by the caller.
        let clusters = unsafe { clusters_of(wants.clusters, wants.cluster_count, library)? };
        Ok((wishes, clusters))
    }

    fn of(table: &AnyTable) -> Option<&Self> {
        match table {
            AnyTable::NetworkFilter(table) => Some(table),
            _ => None,
        }
    }
}

impl Hosted for NetworkFilterTable {
    type Kind = NetworkFilters;

    fn config(
        configured: Configured<Self>,
        (wants, _): Self::Wishes,
        _context: &PrepareContext,
        _news: Option<News>,
    ) -> Result<Arc<dyn NetworkFilterConfig>, PrepareError> {
        Ok(Arc::new(Config {
            configured: Arc::new(configured),
            wants,
        }))
    }

    fn clusters((_, clusters): &Self::Wishes) -> &[String] {
        clusters
    }
}

/// A use that is ready.
struct Config {
    configured: Arc<Configured<NetworkFilterTable>>,
    wants: NetworkWants,
}

impl NetworkFilterConfig for Config {
    fn wants(&self) -> NetworkWants {
        self.wants
    }

    fn on_worker(
        &self,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn NetworkFilterWorker>, BuildError> {
        let part = WorkerObject::start(&self.configured, worker)?;
        Ok(Rc::new(Part(part)))
    }
}

struct Part(Rc<WorkerObject<NetworkFilterTable>>);

impl WorkerPart for Part {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        self.0.on_event(worker, &event);
    }
}

impl NetworkFilterWorker for Part {
    fn connection(
        &self,
        connection: &mut Connection<'_>,
    ) -> Result<Box<dyn NetworkFilter>, FilterError> {
        let part = Rc::clone(&self.0);
        // SAFETY: The library's function, with an object of its own and a handle.
        let object = with_connection(connection, |connection| unsafe {
            (part.config.table.connection_start)(part.object, connection)
        });
        Ok(Box::new(Filter { object, part }))
    }
}

/// A filter of one connection.
struct Filter {
    object: Object,
    part: Rc<WorkerObject<NetworkFilterTable>>,
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(end) = self.part.config.table.all.connection_end {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { end(self.object) };
        }
    }
}

impl Filter {
    /// What a callback answered, as a verdict; a number that is none is a failure of the filter.
    fn verdict(
        &self,
        connection: &mut Connection<'_>,
        callback: &str,
        number: i32,
    ) -> NetworkVerdict {
        NetworkVerdict::from_number(number).unwrap_or_else(|| {
            let library = &self.part.config.library;
            connection.fail(FilterError::broken(format!(
                "{library} answered {callback} with {number}, which is no verdict"
            )));
            NetworkVerdict::Continue
        })
    }
}

impl NetworkFilter for Filter {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        let Some(begin) = self.part.config.table.all.begin else {
            return NetworkVerdict::Continue;
        };
        // SAFETY: The library's function, with an object of its own and a handle.
        let number = with_connection(connection, |handle| unsafe { begin(self.object, handle) });
        self.verdict(connection, "begin", number)
    }

    fn on_data(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
        let Some(data) = self.part.config.table.all.data else {
            return NetworkVerdict::Continue;
        };
        let end = u32::from(end);
        // SAFETY: The library's function, with an object of its own and a handle.
        let number = with_connection(connection, |handle| unsafe {
            data(self.object, handle, end)
        });
        self.verdict(connection, "data", number)
    }

    fn on_write(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
        let Some(write) = self.part.config.table.all.write else {
            return NetworkVerdict::Continue;
        };
        let end = u32::from(end);
        // SAFETY: The library's function, with an object of its own and a handle.
        let number = with_connection(connection, |handle| unsafe {
            write(self.object, handle, end)
        });
        self.verdict(connection, "write", number)
    }

    fn on_event(&mut self, connection: &mut Connection<'_>, event: Event) {
        if let Some(on_event) = self.part.config.table.all.event {
            with_event(&event, |event| {
                // SAFETY: The library's function, with an object of its own, a handle and an event that holds for the call.
                with_connection(connection, |handle| unsafe {
                    on_event(self.object, handle, event);
                });
            });
        }
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, by: ResetReason) {
        if let Some(close) = self.part.config.table.all.close {
            let by = reason_number(by);
            // SAFETY: The library's function, with an object of its own and a handle.
            with_connection(connection, |handle| unsafe {
                close(self.object, handle, by);
            });
        }
    }
}
