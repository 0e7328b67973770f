//! A library's client: a codec, as the data plane calls it.

use std::sync::Arc;

use transom_abi::{self as abi, Handle, Object, Slice, Status};
use transom_api::client::{Answer, ClientConnection, ClientProtocol, ProtocolError};
use transom_api::headers::{HeaderMap, Headers};
use transom_api::kind::Clients;
use transom_api::{PrepareContext, PrepareError};

use crate::configs::{Configured, Hosted};
use crate::current::{Codec, Told, bytes, items, slice_of, text, with_codec};
use crate::error::LoadError;
use crate::load::Loaded;
use crate::news::News;
use crate::tables::{AnyTable, Check, Common, Prepare, Raw, Release, Table};

type Begin = unsafe extern "C" fn(Object) -> Object;
type Read = unsafe extern "C" fn(Object, Handle, Slice, u32, *mut usize) -> Status;
type Data = unsafe extern "C" fn(Object, Handle, Slice) -> Status;
type End = unsafe extern "C" fn(Object, Handle) -> Status;

/// The functions of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientTable {
    all: abi::Client,
    prepare: Prepare<abi::ClientWants>,
    release: Release,
    start: Begin,
    read: Read,
    data: Data,
    end: End,
    request: unsafe extern "C" fn(Object, Handle, u32) -> Status,
}

impl ClientTable {
    pub(crate) fn new(all: abi::Client, raw: &Raw<'_>) -> Result<Self, LoadError> {
        Ok(Self {
            prepare: raw.must(all.prepare, "prepare")?,
            release: raw.must(all.release, "release")?,
            start: raw.must(all.connection_start, "connection_start")?,
            read: raw.must(all.read, "read")?,
            data: raw.must(all.data, "data")?,
            end: raw.must(all.end, "end")?,
            request: raw.must(all.request, "request")?,
            all,
        })
    }
}

impl Table for ClientTable {
    const KIND: abi::Kind = abi::CLIENT;
    type Wants = abi::ClientWants;
    /// What logs call the protocol.
    type Wishes = String;

    fn common(&self) -> Common<abi::ClientWants> {
        Common {
            check: Check::Plain(self.all.check),
            prepare: self.prepare,
            release: self.release,
            // A connection is what workers have.
            worker_start: None,
            worker_event: None,
            worker_end: None,
        }
    }

    fn wants(&self) -> abi::ClientWants {
        abi::ClientWants {
            size: size_of::<abi::ClientWants>(),
            name: slice_of(&[]),
        }
    }

    unsafe fn read(wants: &abi::ClientWants, library: &Loaded) -> Result<String, PrepareError> {
        // SAFETY: Promised by the caller.
        match unsafe { text(wants.name) } {
            Ok("") => Ok(library.name().to_owned()),
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(PrepareError::new(format!(
                "{library} names a protocol that is no UTF-8"
            ))),
        }
    }

    fn of(table: &AnyTable) -> Option<&Self> {
        match table {
            AnyTable::Client(table) => Some(table),
            _ => None,
        }
    }
}

impl Hosted for ClientTable {
    type Kind = Clients;
    const LABEL: &'static str = "client";

    fn config(
        configured: Configured<Self>,
        name: String,
        _context: &PrepareContext,
        _news: Option<News>,
    ) -> Result<Arc<dyn ClientProtocol>, PrepareError> {
        let configured = Arc::new(configured);
        Ok(Arc::new(Protocol { configured, name }))
    }
}

/// A use that is ready.
struct Protocol {
    configured: Arc<Configured<ClientTable>>,
    name: String,
}

impl ClientProtocol for Protocol {
    fn name(&self) -> &str {
        &self.name
    }

    fn connection(&self) -> Box<dyn ClientConnection> {
        let start = self.configured.table.start;
        Box::new(Connected {
            // SAFETY: The library's function, with an object of its own.
            object: unsafe { start(self.configured.object) },
            config: Arc::clone(&self.configured),
        })
    }
}

/// A connection, as the library knows it.
struct Connected {
    object: Object,
    config: Arc<Configured<ClientTable>>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(over) = self.config.table.all.connection_end {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { over(self.object) };
        }
    }
}

impl Connected {
    /// Calls the library. `callback` is the name of the function.
    fn call(
        &self,
        mut codec: Codec<'_>,
        callback: &str,
        call: impl FnOnce(Object, Handle) -> Status,
    ) -> Result<(), ProtocolError> {
        let status = with_codec(&mut codec, |handle| call(self.object, handle));
        if status == abi::OK {
            return Ok(());
        }
        let library = &self.config.library;
        let why = match codec.why {
            Some(why) => format!("{library}: {why}"),
            None => format!("{library} answered {callback} with {status}"),
        };
        Err(match status {
            abi::UNSUPPORTED => ProtocolError::unspeakable(why),
            _ => ProtocolError::new(why),
        })
    }

    fn data(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        self.call(Codec::writing(None, out), "data", |object, handle| {
            // SAFETY: The library's function, with an object of its own, a handle and bytes that hold for the call.
            unsafe { (self.config.table.data)(object, handle, slice_of(data)) }
        })
    }

    fn end(
        &self,
        map: HeaderMap,
        trailers: Headers<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let codec = Codec::writing(Some((map, trailers)), out);
        self.call(codec, "end", |object, handle| {
            // SAFETY: The library's function, with an object of its own and a handle.
            unsafe { (self.config.table.end)(object, handle) }
        })
    }

    fn read(&self, data: &[u8], eof: bool, told: &mut dyn Told) -> Result<usize, ProtocolError> {
        let mut used = 0;
        let codec = Codec {
            headers: None,
            out: None,
            told: Some(told),
            why: None,
        };
        self.call(codec, "read", |object, handle| {
            let (data, eof) = (slice_of(data), u32::from(eof));
            // SAFETY: The library's function, with an object of its own, a handle, and bytes that hold for the call.
            unsafe { (self.config.table.read)(object, handle, data, eof, &raw mut used) }
        })?;
        if used > data.len() {
            return Err(ProtocolError::new(format!(
                "{} has used {used} of {} bytes",
                self.config.library,
                data.len()
            )));
        }
        Ok(used)
    }

    fn is_reusable(&self) -> bool {
        match self.config.table.all.is_reusable {
            // SAFETY: The library's function, with an object of its own.
            Some(is_reusable) => unsafe { is_reusable(self.object) != 0 },
            None => false,
        }
    }
}

impl<'a> Codec<'a> {
    fn writing(headers: Option<(HeaderMap, Headers<'a>)>, out: &'a mut Vec<u8>) -> Self {
        Self {
            headers,
            out: Some(out),
            told: None,
            why: None,
        }
    }
}

impl ClientConnection for Connected {
    fn request(
        &mut self,
        head: Headers<'_>,
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let codec = Codec::writing(Some((HeaderMap::RequestHeaders, head)), out);
        let request = self.config.table.request;
        self.call(codec, "request", |object, handle| {
            // SAFETY: The library's function, with an object of its own and a handle.
            unsafe { request(object, handle, u32::from(end)) }
        })
    }

    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        Connected::data(self, data, out)
    }

    fn end(&mut self, trailers: Headers<'_>, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        Connected::end(self, HeaderMap::RequestTrailers, trailers, out)
    }

    fn read(
        &mut self,
        bytes: &[u8],
        eof: bool,
        answer: &mut dyn Answer,
    ) -> Result<usize, ProtocolError> {
        Connected::read(self, bytes, eof, &mut ToAnswer(answer))
    }

    fn is_reusable(&self) -> bool {
        Connected::is_reusable(self)
    }
}

struct ToAnswer<'a>(&'a mut dyn Answer);

impl Told for ToAnswer<'_> {
    fn head(&mut self, head: &abi::MessageHead) -> Result<(), Status> {
        let status = u16::try_from(head.status).map_err(|_| abi::BAD_ARGUMENT)?;
        if !(200..600).contains(&status) {
            return Err(abi::BAD_ARGUMENT);
        }
        self.0.status(status);
        // SAFETY: The border's promise of a head: fields that hold for the call.
        for field in unsafe { items(head.fields, head.field_count) } {
            // SAFETY: As above.
            let (name, value) = unsafe { (bytes(field.name), bytes(field.value)) };
            self.0.field(name, value);
        }
        self.0.head_end();
        Ok(())
    }

    fn data(&mut self, data: &[u8]) {
        self.0.data(data);
    }

    fn end(&mut self) {
        self.0.end();
    }
}
