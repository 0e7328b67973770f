//! What is told of a connection that became no streams, when it is over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use transom_api::access_log::RecordSource;
use transom_api::headers::{HeaderEntry, HeaderHost};
use transom_api::host::InfoHost;
use transom_api::{
    Attribute, FilterState, HeaderError, HeaderMap, MetadataValue, Record, attribute,
};

use crate::http::head::Head;
use crate::stream::chain::AccessLogPlace;
use crate::stream::info::{Attributes, ConnectionInfo, StreamInfo};

/// A relayed connection, or a session of datagrams. Its bytes are the sizes of a request and a response; it has no
/// headers, no protocol and no status.
pub(crate) struct SessionRecord {
    pub(crate) connection: Rc<ConnectionInfo>,
    pub(crate) info: StreamInfo,
    nothing: Head,
}

impl SessionRecord {
    pub(crate) fn new(connection: Rc<ConnectionInfo>) -> Self {
        Self {
            connection,
            info: StreamInfo::new(),
            nothing: Head::default(),
        }
    }

    /// It is over: writes the access logs.
    pub(crate) fn write(mut self, logs: &[Rc<AccessLogPlace>]) {
        self.info.end = Some(Instant::now());
        for log in logs {
            let record = Record::new(&self);
            if catch_unwind(AssertUnwindSafe(|| log.part.part().log(&record))).is_err() {
                tracing::error!("an access log panicked");
            }
        }
    }
}

impl HeaderHost for SessionRecord {
    fn header(&self, _map: HeaderMap, _name: &[u8], _nth: usize) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn header_at(&self, _map: HeaderMap, _index: usize) -> Option<HeaderEntry<'_>> {
        None
    }

    fn set_header(&mut self, _: HeaderMap, _: &[u8], _: &[u8]) -> Result<(), HeaderError> {
        Err(HeaderError::Absent)
    }

    fn add_header(&mut self, _: HeaderMap, _: &[u8], _: &[u8]) -> Result<(), HeaderError> {
        Err(HeaderError::Absent)
    }

    fn remove_header(&mut self, _: HeaderMap, _: &[u8]) -> Result<usize, HeaderError> {
        Err(HeaderError::Absent)
    }
}

impl InfoHost for SessionRecord {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        if name == attribute::REQUEST_PROTOCOL {
            return None;
        }
        let attributes = Attributes {
            connection: &self.connection,
            info: &self.info,
            request: &self.nothing,
            response: &self.nothing,
            route_name: None,
            virtual_host: None,
        };
        attributes.get(name)
    }

    fn metadata(&self, namespace: &str, key: &str) -> Option<&MetadataValue> {
        self.info.metadata.get(namespace)?.get(key)
    }

    fn metadata_namespace(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        self.info.metadata.get(namespace)
    }

    fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue) {
        let space = self.info.metadata.entry(namespace.to_owned());
        space.or_default().insert(key.to_owned(), value);
    }

    fn filter_state(&mut self) -> &mut FilterState {
        &mut self.info.filter_state
    }

    fn connection_state(&mut self) -> &mut FilterState {
        // Nobody changes anything here: a record is only read.
        &mut self.info.filter_state
    }
}

impl RecordSource for SessionRecord {}
