//! Access logs: a record of each finished stream.

use std::rc::Rc;

use crate::factory::BuildError;
use crate::headers::{HeaderHost, HeaderMap, Headers};
use crate::host::InfoHost;
use crate::value::{Attribute, MetadataValue};
use crate::worker::{Worker, WorkerPart};

/// A prepared configuration of an access log, shared by all workers.
pub trait AccessLogConfig: Send + Sync {
    /// Builds the part that one worker has.
    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError>;
}

/// A worker's part of an access log.
pub trait AccessLogWorker: WorkerPart {
    /// A stream is over. Called once for each, after the filters' `on_stream_complete`. Must not wait.
    fn log(&self, record: &Record<'_>);
}

/// The host's side of a [`Record`].
pub trait RecordSource: HeaderHost + InfoHost {}

/// A finished stream.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    source: &'a dyn RecordSource,
}

impl<'a> Record<'a> {
    /// A record over a source.
    #[must_use]
    pub fn new(source: &'a dyn RecordSource) -> Self {
        Self { source }
    }

    /// One of its header maps, as it was sent on.
    #[must_use]
    pub fn headers(&self, map: HeaderMap) -> Headers<'a> {
        Headers::new(self.source, map)
    }

    /// An attribute by its name (see [`attribute`](crate::value::attribute)).
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Attribute<'a>> {
        self.source.attribute(name)
    }

    /// A value of dynamic metadata.
    #[must_use]
    pub fn metadata(&self, namespace: &str, key: &str) -> Option<&'a MetadataValue> {
        self.source.metadata(namespace, key)
    }
}
