//! Loads a library: what was verified is what is loaded, and nothing of it is ever unmapped.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libloading::os::unix::{Library as Mapped, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::write;
use transom_abi::{self as abi, EntryFn, Extension};
use transom_api::PrepareError;

use crate::current::text;
use crate::elf;
use crate::error::LoadError;
use crate::files::Verified;
use crate::probe::Prober;
use crate::table::HOST;
use crate::tables::{AnyTable, Table, kind_name};

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

/// More is no list but a mistake.
const MOST_EXTENSIONS: usize = 1024;

/// One extension of a library.
#[derive(Clone, Debug)]
struct Found {
    kind: abi::Kind,
    name: String,
    table: AnyTable,
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
        if said.extension_count > MOST_EXTENSIONS
            || (said.extension_count > 0 && said.extensions.is_null())
        {
            return Err(LoadError::Extensions(said.extension_count));
        }
        let mut extensions = Vec::new();
        for number in 0..said.extension_count {
            let at = number.saturating_mul(said.extension_size);
            // SAFETY: As above: so many extensions of that size.
            let extension = unsafe { &*said.extensions.byte_add(at) };
            // SAFETY: As above.
            let name = unsafe { text(extension.name) }.map_err(|_| LoadError::Name)?;
            // SAFETY: As above.
            let Some(table) = (unsafe { AnyTable::read(extension, name)? }) else {
                continue;
            };
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

    /// The functions of the extension of this name; of the only one of its kind, where the name is empty.
    pub(crate) fn find<T: Table>(&self, name: &str) -> Result<T, PrepareError> {
        let found = self.extensions.iter();
        let found = found.filter_map(|found| Some((found.name.as_str(), T::of(&found.table)?)));
        let known: Vec<&str> = found.clone().map(|(name, _)| name).collect();
        let found = match (name, known.len()) {
            ("", 1) => found.clone().next(),
            _ => found.clone().find(|(known, _)| *known == name),
        };
        found.map(|(_, table)| *table).ok_or_else(|| {
            let kind = kind_name(T::KIND);
            let error = match name {
                "" if known.is_empty() => format!("{self} has no {kind}"),
                "" => format!("{self} has several extensions that are a {kind}"),
                name => format!("{self} has no {kind} `{name}`"),
            };
            let help = match known.is_empty() {
                true => format!("it is {}", self.extensions_in_words()),
                false => format!(
                    "name one behind a slash (`plugin: NAME/EXTENSION`); it has: {}",
                    known.join(", ")
                ),
            };
            PrepareError::new(error).with_help(help)
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
        format!(
            "{} {}, made with {}, has {}",
            self.name,
            self.version,
            self.made_with,
            self.extensions_in_words()
        )
    }

    fn extensions_in_words(&self) -> String {
        let names: Vec<String> = self.extensions.iter().map(describe).collect();
        match names.is_empty() {
            true => "nothing that this host can use".to_owned(),
            false => names.join(", "),
        }
    }
}

fn describe(found: &Found) -> String {
    let kind = kind_name(found.kind);
    match found.name.as_str() {
        "" => format!("the {kind}"),
        name => format!("the {kind} {name}"),
    }
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
