//! Loads a library: what was verified is what is loaded, and nothing of it is ever unmapped.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libloading::os::unix::{Library as Mapped, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::write;
use transom_abi::{
    self as abi, EntryFn, Extension, Fault, Handle, Object, Slice, Status, StreamFilter,
};
use transom_api::{Phase, PrepareError};

use crate::current::text;
use crate::elf;
use crate::error::LoadError;
use crate::files::Verified;
use crate::probe::Prober;
use crate::table::HOST;

/// The library of a declaration, once it is loaded.
pub(crate) type Cell = Arc<OnceLock<Arc<Loaded>>>;

/// A library in this process. There is one for each content: a library that comes back is the one that was there.
///
/// It is never unmapped. Threads that it has started, destructors of its thread-local values and functions that it has given
/// to others may run at any time, and nobody can know when the last of them has.
#[derive(Debug)]
pub struct Loaded {
    /// Where it was read from, for messages.
    file: String,
    name: String,
    version: String,
    made_with: String,
    extensions: Vec<Found>,
}

/// One extension of a library.
#[derive(Clone, Debug)]
struct Found {
    kind: abi::Kind,
    name: String,
    table: StreamFilterTable,
}

/// The functions of a stream filter: those that must be there, and those that may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamFilterTable {
    pub(crate) phase: Phase,
    pub(crate) check: Option<unsafe extern "C" fn(Slice, u32, *mut Fault) -> Status>,
    pub(crate) prepare: unsafe extern "C" fn(Handle, Slice, *mut abi::Wants, *mut Fault) -> Object,
    pub(crate) release: unsafe extern "C" fn(Object),
    pub(crate) prepare_route: Option<unsafe extern "C" fn(Object, Slice, *mut Fault) -> Object>,
    pub(crate) release_route: Option<unsafe extern "C" fn(Object)>,
    pub(crate) worker_start: Option<unsafe extern "C" fn(Object, Handle) -> Object>,
    pub(crate) worker_event: Option<unsafe extern "C" fn(Object, Handle, *const abi::Event)>,
    pub(crate) worker_end: Option<unsafe extern "C" fn(Object)>,
    pub(crate) stream_start: unsafe extern "C" fn(Object, Handle) -> Object,
    pub(crate) stream_end: Option<unsafe extern "C" fn(Object)>,
    pub(crate) request_headers: Option<unsafe extern "C" fn(Object, Handle, u32) -> i32>,
    pub(crate) request_body: Option<unsafe extern "C" fn(Object, Handle, u32) -> i32>,
    pub(crate) request_trailers: Option<unsafe extern "C" fn(Object, Handle) -> i32>,
    pub(crate) response_headers: Option<unsafe extern "C" fn(Object, Handle, u32) -> i32>,
    pub(crate) response_body: Option<unsafe extern "C" fn(Object, Handle, u32) -> i32>,
    pub(crate) response_trailers: Option<unsafe extern "C" fn(Object, Handle) -> i32>,
    pub(crate) event: Option<unsafe extern "C" fn(Object, Handle, *const abi::Event)>,
    pub(crate) complete: Option<unsafe extern "C" fn(Object, Handle)>,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the library {} {} ({})",
            self.name, self.version, self.file
        )
    }
}

/// Libraries that were loaded, by the SHA-256 of their content.
static LOADED: Mutex<Option<HashMap<[u8; 32], Arc<Loaded>>>> = Mutex::new(None);

impl Loaded {
    /// Loads a library, after a child process has shown that it can be loaded; or finds the one of the same content.
    pub(crate) fn load(verified: &Verified, prober: &Prober) -> Result<Arc<Self>, LoadError> {
        // Held through the load, so that one content is loaded once.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get_or_insert_default();
        if let Some(known) = loaded.get(&verified.sha256) {
            return Ok(Arc::clone(known));
        }
        elf::check(&verified.bytes)?;
        let memory = sealed(verified)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        prober.probe(&path)?;
        let library = Self::map(&path, &verified.file)?;
        // The loader knows a library by its path first: as long as this one is open, no other has its path.
        std::mem::forget(memory);
        let library = Arc::new(library);
        loaded.insert(verified.sha256, Arc::clone(&library));
        Ok(library)
    }

    /// Maps the library at `path`, which nobody may change any more, and reads its description.
    pub(crate) fn map(path: &str, file: &str) -> Result<Self, LoadError> {
        // SAFETY: Loading runs the library's constructors. Whoever declares a library trusts its code; that it can be loaded was
        // tried in a child process.
        let mapped = unsafe { Mapped::open(Some(OsStr::new(path)), RTLD_NOW | RTLD_LOCAL) };
        let mapped = mapped.map_err(|error| LoadError::Loader(reason_of(&error, path)))?;
        // SAFETY: The type of the one symbol is what the border says.
        let entry = unsafe { mapped.get::<EntryFn>(abi::ENTRY.as_bytes()) };
        let entry = *entry.map_err(|_| LoadError::NoEntry)?;
        // Never unmapped, see above.
        std::mem::forget(mapped);
        // SAFETY: As the border says; the host's table lives as long as the process.
        let said = unsafe { entry(&raw const HOST) };
        // SAFETY: As the border says: null, or a description that lives as long as the process.
        let said = unsafe { said.as_ref() }.ok_or(LoadError::Refused)?;
        // SAFETY: As above.
        unsafe { Self::read(said, file) }
    }

    /// # Safety
    ///
    /// `said` must begin like a description; all of it is looked at only when it says that it is one.
    unsafe fn read(said: &abi::Library, file: &str) -> Result<Self, LoadError> {
        // The first fields, up to the versions, stand where they stand in every version that there will be.
        if said.magic != abi::MAGIC {
            return Err(LoadError::Magic(said.magic));
        }
        if said.major != abi::MAJOR || said.size < size_of::<abi::Library>() {
            return Err(LoadError::Version {
                major: said.major,
                minor: said.minor,
                size: said.size,
            });
        }
        if said.needs & !HOST.features != 0 {
            return Err(LoadError::Needs(said.needs & !HOST.features));
        }
        if said.extension_size < size_of::<Extension>() {
            return Err(LoadError::Version {
                major: said.major,
                minor: said.minor,
                size: said.extension_size,
            });
        }
        // SAFETY: Promised by the caller, here and below.
        let words = unsafe { [said.name, said.version, said.made_with].map(|word| text(word)) };
        let [name, version, made_with] = words.map(|word| word.unwrap_or("?").to_owned());
        let mut extensions = Vec::new();
        for number in 0..said.extension_count {
            let at = number.saturating_mul(said.extension_size);
            // SAFETY: As above: so many extensions of that size.
            let extension = unsafe { &*said.extensions.byte_add(at) };
            // A kind of a later version is not used by this host.
            if extension.kind != abi::STREAM_FILTER {
                continue;
            }
            // SAFETY: As above.
            let name = unsafe { text(extension.name) }.map_err(|_| LoadError::Name)?;
            // SAFETY: As above.
            let table = unsafe { stream_filter(extension, name)? };
            extensions.push(Found {
                kind: extension.kind,
                name: name.to_owned(),
                table,
            });
        }
        Ok(Self {
            file: file.to_owned(),
            name,
            version,
            made_with,
            extensions,
        })
    }

    /// The stream filter of this name; the only one, where the name is empty.
    pub(crate) fn stream_filter(&self, name: &str) -> Result<StreamFilterTable, PrepareError> {
        let filters = self.extensions.iter();
        let filters = filters.filter(|found| found.kind == abi::STREAM_FILTER);
        let known: Vec<&str> = filters.clone().map(|found| found.name.as_str()).collect();
        let found = match (name, known.len()) {
            ("", 1) => filters.clone().next(),
            _ => filters.clone().find(|found| found.name == name),
        };
        found.map(|found| found.table).ok_or_else(|| {
            let has = match known.is_empty() {
                true => "it has none".to_owned(),
                false => format!("it has: {}", known.join(", ")),
            };
            PrepareError::new(format!("{self} has no stream filter `{name}`")).with_help(format!(
                "name one behind a slash (`plugin: NAME/FILTER`); {has}"
            ))
        })
    }

    /// What it has: kind and name of each extension.
    pub(crate) fn found(&self) -> impl Iterator<Item = (abi::Kind, &str)> {
        self.extensions
            .iter()
            .map(|found| (found.kind, found.name.as_str()))
    }

    /// The library's own name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// One line on what it is, for the log and for people.
    pub fn describe(&self) -> String {
        let names: Vec<String> = self.extensions.iter().map(describe).collect();
        format!(
            "{} {}, made with {}, has {}",
            self.name,
            self.version,
            self.made_with,
            match names.is_empty() {
                true => "nothing that this host can use".to_owned(),
                false => names.join(", "),
            }
        )
    }
}

fn describe(found: &Found) -> String {
    match found.name.as_str() {
        "" => "a stream filter".to_owned(),
        name => format!("the stream filter {name}"),
    }
}

/// Copies the table of a stream filter, whatever its size, and sees that what must be there is.
///
/// # Safety
///
/// `extension` must be a description of a stream filter.
unsafe fn stream_filter(extension: &Extension, name: &str) -> Result<StreamFilterTable, LoadError> {
    let from = extension.table.cast::<StreamFilter>();
    // SAFETY: Promised by the caller: a table begins with its size.
    let size = unsafe { from.as_ref() }.ok_or(LoadError::NoTable)?.size;
    let mut table = MaybeUninit::<StreamFilter>::zeroed();
    let known = size.min(size_of::<StreamFilter>());
    // SAFETY: Both are so long. Functions that the library's version does not have stay null, which is none.
    let table = unsafe {
        let to = table.as_mut_ptr().cast::<u8>();
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), to, known);
        table.assume_init()
    };
    let missing = |function| LoadError::NoFunction {
        filter: name.to_owned(),
        function,
    };
    Ok(StreamFilterTable {
        phase: match extension.phase {
            1 => Phase::AfterRoute,
            2 => Phase::AfterChooseHost,
            _ => Phase::BeforeRoute,
        },
        check: table.check,
        prepare: table.prepare.ok_or_else(|| missing("prepare"))?,
        release: table.release.ok_or_else(|| missing("release"))?,
        prepare_route: table.prepare_route,
        release_route: table.release_route,
        worker_start: table.worker_start,
        worker_event: table.worker_event,
        worker_end: table.worker_end,
        stream_start: table.stream_start.ok_or_else(|| missing("stream_start"))?,
        stream_end: table.stream_end,
        request_headers: table.request_headers,
        request_body: table.request_body,
        request_trailers: table.request_trailers,
        response_headers: table.response_headers,
        response_body: table.response_body,
        response_trailers: table.response_trailers,
        event: table.event,
        complete: table.complete,
    })
}

/// The bytes in memory that has a path and that nobody can change any more.
fn sealed(verified: &Verified) -> Result<OwnedFd, LoadError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = memfd_create("transom-library", flags | MemfdFlags::EXEC)
        // Kernels before 6.3 know no such flag, and need none.
        .or_else(|_| memfd_create("transom-library", flags));
    let memory = made.map_err(|error| LoadError::Memory(error.into()))?;
    let mut left: &[u8] = &verified.bytes;
    while !left.is_empty() {
        let count = write(&memory, left).map_err(|error| LoadError::Memory(error.into()))?;
        left = left.get(count..).unwrap_or_default();
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals).map_err(|error| LoadError::Memory(error.into()))?;
    Ok(memory)
}

/// What the loader says, without the path that only this process knows.
fn reason_of(error: &libloading::Error, path: &str) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text = source.to_string();
    }
    text.replace(&format!("{path}: "), "")
}
