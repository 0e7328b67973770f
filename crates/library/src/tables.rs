//! The tables of a library's extensions: read from its memory, whatever their size, and checked for what must be there.
//!
//! Each kind has a file of its own with its table and what the proxy makes of it; here is what they have in common.

use std::mem::MaybeUninit;

use transom_abi::{self as abi, Extension, Fault, Handle, Object, Slice, Status};
use transom_api::{Phase, PrepareError};

use crate::access_log::AccessLogTable;
use crate::certificate_provider::CertificateProviderTable;
use crate::client::ClientTable;
use crate::error::LoadError;
use crate::listener_filter::ListenerFilterTable;
use crate::load::Loaded;
use crate::network_filter::NetworkFilterTable;
use crate::selector::SelectorTable;
use crate::stream_filter::StreamFilterTable;

/// The functions of an extension of a certain kind: a copy, with those that must be there.
pub(crate) trait Table: Copy + Send + Sync + 'static {
    /// The kind's number.
    const KIND: abi::Kind;
    /// What a library writes into while it prepares.
    type Wants;
    /// The same, read.
    type Wishes: Send;

    /// The functions that every kind has.
    fn common(&self) -> Common<Self::Wants>;

    /// What a library finds there.
    fn wants(&self) -> Self::Wants;

    /// Reads what it made of it.
    ///
    /// # Safety
    ///
    /// What `wants` points to must be there.
    unsafe fn read(wants: &Self::Wants, library: &Loaded) -> Result<Self::Wishes, PrepareError>;

    /// This kind of table, if it is one.
    fn of(table: &AnyTable) -> Option<&Self>;
}

/// The functions that every kind has.
pub(crate) struct Common<W> {
    pub(crate) check: Check,
    pub(crate) prepare: Prepare<W>,
    pub(crate) release: Release,
    pub(crate) worker_start: Option<WorkerStart>,
    pub(crate) worker_event: Option<WorkerEvent>,
    pub(crate) worker_end: Option<Release>,
}

/// The function that checks a configuration.
#[derive(Clone, Copy)]
pub(crate) enum Check {
    /// Of a kind that routes can configure.
    WithRoute(Option<unsafe extern "C" fn(Slice, u32, *mut Fault) -> Status>),
    /// Of the others.
    Plain(Option<unsafe extern "C" fn(Slice, *mut Fault) -> Status>),
}

pub(crate) type Prepare<W> = unsafe extern "C" fn(Handle, Slice, *mut W, *mut Fault) -> Object;
/// Takes an object back.
pub(crate) type Release = unsafe extern "C" fn(Object);
pub(crate) type WorkerStart = unsafe extern "C" fn(Object, Handle) -> Object;
pub(crate) type WorkerEvent = unsafe extern "C" fn(Object, Handle, *const abi::Event);
/// Makes a filter of a worker's part.
pub(crate) type Start = unsafe extern "C" fn(Object, Handle) -> Object;

/// A table of any kind that this host knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnyTable {
    StreamFilter(StreamFilterTable),
    NetworkFilter(NetworkFilterTable),
    ListenerFilter(ListenerFilterTable),
    AccessLog(AccessLogTable),
    CertificateProvider(CertificateProviderTable),
    Selector(SelectorTable),
    Client(ClientTable),
}

impl AnyTable {
    /// The table of an extension. `None` for a kind of a later version, which this host does not use.
    ///
    /// # Safety
    ///
    /// `extension` must be the description of an extension.
    pub(crate) unsafe fn read(
        extension: &Extension,
        name: &str,
    ) -> Result<Option<Self>, LoadError> {
        let phase = match extension.phase {
            1 => Phase::AfterRoute,
            2 => Phase::AfterChooseHost,
            _ => Phase::BeforeRoute,
        };
        let from = Raw { extension, name };
        // SAFETY: Promised by the caller, here and below: what the table is depends on the kind.
        Ok(Some(unsafe {
            match extension.kind {
                abi::STREAM_FILTER => Self::StreamFilter(StreamFilterTable::new(
                    phase,
                    from.copy::<abi::StreamFilter>()?,
                    &from,
                )?),
                abi::NETWORK_FILTER => Self::NetworkFilter(NetworkFilterTable::new(
                    from.copy::<abi::NetworkFilter>()?,
                    &from,
                )?),
                abi::LISTENER_FILTER => Self::ListenerFilter(ListenerFilterTable::new(
                    from.copy::<abi::ListenerFilter>()?,
                    &from,
                )?),
                abi::ACCESS_LOG => {
                    Self::AccessLog(AccessLogTable::new(from.copy::<abi::AccessLog>()?, &from)?)
                }
                abi::CERTIFICATE_PROVIDER => Self::CertificateProvider(
                    CertificateProviderTable::new(from.copy::<abi::CertificateProvider>()?, &from)?,
                ),
                abi::SELECTOR => {
                    Self::Selector(SelectorTable::new(from.copy::<abi::Selector>()?, &from)?)
                }
                abi::CLIENT => Self::Client(ClientTable::new(from.copy::<abi::Client>()?, &from)?),
                _ => return Ok(None),
            }
        }))
    }
}

/// A kind in words.
pub(crate) fn kind_name(kind: abi::Kind) -> &'static str {
    match kind {
        abi::STREAM_FILTER => "stream filter",
        abi::NETWORK_FILTER => "network filter",
        abi::LISTENER_FILTER => "listener filter",
        abi::ACCESS_LOG => "access log",
        abi::CERTIFICATE_PROVIDER => "certificate provider",
        abi::SELECTOR => "selector",
        abi::CLIENT => "client",
        _ => "extension",
    }
}

/// Where a table is read from.
pub(crate) struct Raw<'a> {
    extension: &'a Extension,
    name: &'a str,
}

impl Raw<'_> {
    /// Copies a table, whatever its size. Functions that the library's version does not have are null, which is none.
    ///
    /// # Safety
    ///
    /// `T` must be the table of the extension's kind: its size, and functions that may be null.
    unsafe fn copy<T>(&self) -> Result<T, LoadError> {
        let from = self.extension.table.cast::<u8>();
        if from.is_null() {
            return Err(LoadError::NoTable);
        }
        // SAFETY: Promised by the caller: a table begins with its size.
        let size = unsafe { from.cast::<usize>().read() };
        let mut table = MaybeUninit::<T>::zeroed();
        let known = size.min(size_of::<T>());
        // SAFETY: Both are so long, and all of it may be zero.
        Ok(unsafe {
            std::ptr::copy_nonoverlapping(from, table.as_mut_ptr().cast::<u8>(), known);
            table.assume_init()
        })
    }

    /// A function that must be there.
    pub(crate) fn must<F>(&self, function: Option<F>, name: &'static str) -> Result<F, LoadError> {
        function.ok_or_else(|| LoadError::NoFunction {
            kind: kind_name(self.extension.kind),
            extension: self.name.to_owned(),
            function: name,
        })
    }
}
