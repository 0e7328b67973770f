//! A library's listener filter, as the data plane calls it.

use std::rc::Rc;
use std::sync::Arc;

use transom_abi::{self as abi, Object};
use transom_api::event::Event;
use transom_api::kind::ListenerFilters;
use transom_api::listener::{ListenerFilterConfig, ListenerFilterWorker, Socket};
use transom_api::{
    BuildError, FilterError, ListenerFilter, ListenerVerdict, PrepareContext, PrepareError, Worker,
    WorkerPart,
};

use crate::configs::{Configured, Hosted, WorkerObject};
use crate::current::{slice_of, with_socket};
use crate::error::LoadError;
use crate::load::Loaded;
use crate::news::News;
use crate::tables::{AnyTable, Check, Common, Prepare, Raw, Release, Start, Table};

/// The functions of a listener filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerFilterTable {
    all: abi::ListenerFilter,
    prepare: Prepare<abi::ListenerWants>,
    release: Release,
    socket_start: Start,
}

impl ListenerFilterTable {
    pub(crate) fn new(all: abi::ListenerFilter, raw: &Raw<'_>) -> Result<Self, LoadError> {
        Ok(Self {
            prepare: raw.must(all.prepare, "prepare")?,
            release: raw.must(all.release, "release")?,
            socket_start: raw.must(all.socket_start, "socket_start")?,
            all,
        })
    }
}

impl Table for ListenerFilterTable {
    const KIND: abi::Kind = abi::LISTENER_FILTER;
    type Wants = abi::ListenerWants;
    /// How many bytes it may need to see.
    type Wishes = usize;

    fn common(&self) -> Common<abi::ListenerWants> {
        Common {
            check: Check::Plain(self.all.check),
            prepare: self.prepare,
            release: self.release,
            worker_start: self.all.worker_start,
            worker_event: self.all.worker_event,
            worker_end: self.all.worker_end,
        }
    }

    fn wants(&self) -> abi::ListenerWants {
        abi::ListenerWants {
            size: size_of::<abi::ListenerWants>(),
            peek: 0,
        }
    }

    unsafe fn read(wants: &abi::ListenerWants, _library: &Loaded) -> Result<usize, PrepareError> {
        Ok(wants.peek)
    }

    fn of(table: &AnyTable) -> Option<&Self> {
        match table {
            AnyTable::ListenerFilter(table) => Some(table),
            _ => None,
        }
    }
}

impl Hosted for ListenerFilterTable {
    type Kind = ListenerFilters;

    fn config(
        configured: Configured<Self>,
        peek: usize,
        _context: &PrepareContext,
        _news: Option<News>,
    ) -> Result<Arc<dyn ListenerFilterConfig>, PrepareError> {
        Ok(Arc::new(Config {
            // Nobody would see them.
            peek: match configured.table.all.peek {
                Some(_) => peek,
                None => 0,
            },
            configured: Arc::new(configured),
        }))
    }
}

/// A use that is ready.
struct Config {
    configured: Arc<Configured<ListenerFilterTable>>,
    peek: usize,
}

impl ListenerFilterConfig for Config {
    fn peek(&self) -> usize {
        self.peek
    }

    fn on_worker(
        &self,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn ListenerFilterWorker>, BuildError> {
        let part = WorkerObject::start(&self.configured, worker)?;
        Ok(Rc::new(Part(part)))
    }
}

struct Part(Rc<WorkerObject<ListenerFilterTable>>);

impl WorkerPart for Part {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        self.0.on_event(worker, &event);
    }
}

impl ListenerFilterWorker for Part {
    fn socket(&self, socket: &mut Socket<'_>) -> Result<Box<dyn ListenerFilter>, FilterError> {
        let part = Rc::clone(&self.0);
        // SAFETY: The library's function, with an object of its own and a handle.
        let object = with_socket(socket, |socket| unsafe {
            (part.config.table.socket_start)(part.object, socket)
        });
        Ok(Box::new(Filter { object, part }))
    }
}

/// A filter of one socket.
struct Filter {
    object: Object,
    part: Rc<WorkerObject<ListenerFilterTable>>,
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(end) = self.part.config.table.all.socket_end {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { end(self.object) };
        }
    }
}

impl Filter {
    /// What a callback answered, as a verdict; a number that is none is a failure of the filter.
    fn verdict(&self, socket: &mut Socket<'_>, callback: &str, number: i32) -> ListenerVerdict {
        ListenerVerdict::from_number(number).unwrap_or_else(|| {
            let library = &self.part.config.library;
            socket.fail(FilterError::broken(format!(
                "{library} answered {callback} with {number}, which is no verdict"
            )));
            ListenerVerdict::Continue
        })
    }
}

impl ListenerFilter for Filter {
    fn on_accept(&mut self, socket: &mut Socket<'_>) -> ListenerVerdict {
        let Some(accept) = self.part.config.table.all.accept else {
            return ListenerVerdict::StopIteration;
        };
        // SAFETY: The library's function, with an object of its own and a handle.
        let number = with_socket(socket, |handle| unsafe { accept(self.object, handle) });
        self.verdict(socket, "accept", number)
    }

    fn on_peek(&mut self, socket: &mut Socket<'_>, bytes: &[u8], end: bool) -> ListenerVerdict {
        let Some(peek) = self.part.config.table.all.peek else {
            return ListenerVerdict::Continue;
        };
        // SAFETY: The library's function, with an object of its own, a handle and bytes that hold for the call.
        let number = with_socket(socket, |handle| unsafe {
            peek(self.object, handle, slice_of(bytes), u32::from(end))
        });
        self.verdict(socket, "peek", number)
    }
}
