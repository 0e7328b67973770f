//! Why a library is not loaded.

use std::io;

use transom_abi as abi;

use crate::elf;

/// Why a library is not loaded: what was looked at, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is a folder, a pipe or a device.
    #[error("is no regular file")]
    NotRegular,
    /// Its owner is somebody else.
    #[error(
        "belongs to the user {owner}, who could change what runs here; it must belong to root or to the user that Transom runs as ({own}): chown it"
    )]
    Owner {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// Others may write to it.
    #[error(
        "has the mode {0:04o}: others than its owner could change what runs here; take their right to write (chmod go-w)"
    )]
    Mode(u32),
    /// It is larger than libraries are.
    #[error("is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// Its content is not what was declared.
    #[error(
        "has the SHA-256 {found}, not {declared} as declared: it was changed, or `sha256` is of another version"
    )]
    Sha256 {
        /// What it has.
        found: String,
        /// What was declared.
        declared: String,
    },
    /// It is a text, a script or an archive.
    #[error("is no ELF file; build it with `cc -shared -fPIC` or as a `cdylib`")]
    NotElf,
    /// It is a program's part or an object file.
    #[error("is no shared library; build it with `cc -shared -fPIC` or as a `cdylib`")]
    NotShared,
    /// Of another processor.
    #[error("is for {0}, and this machine is {own}: build it for this machine", own = elf::machine())]
    Machine(String),
    /// Its end is missing.
    #[error("is cut off: it has {0} bytes, and its header promises more; copy it again")]
    CutOff(usize),
    /// No memory for it.
    #[error("cannot be copied into memory: {0}")]
    Memory(io::Error),
    /// A child process that loaded it did not live through that.
    #[error("{0}; it was tried in a child process, this one is not harmed")]
    Probe(String),
    /// The system's loader refuses it.
    #[error("cannot be loaded: {0}")]
    Loader(String),
    /// It has no entry.
    #[error("does not export the symbol `{symbol}`, so it is no library for Transom", symbol = abi::ENTRY)]
    NoEntry,
    /// It refuses this host.
    #[error(
        "refuses this host, transom-abi {}.{}; the log may tell why",
        abi::MAJOR,
        abi::MINOR
    )]
    Refused,
    /// Its description is none.
    #[error(
        "describes itself with the magic {0:#018x}, not {magic:#018x}: `{symbol}` returns something else than a `transom_library`",
        magic = abi::MAGIC,
        symbol = abi::ENTRY
    )]
    Magic(u64),
    /// It is of another version of the border.
    #[error(
        "was made for transom-abi {major}.{minor} (size of its description: {size}); this host has {own_major}.{own_minor} (size {own_size}), and takes any {own_major}.x: build it with a header of that version",
        own_major = abi::MAJOR,
        own_minor = abi::MINOR,
        own_size = size_of::<abi::Library>()
    )]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
        /// The size that it gives.
        size: usize,
    },
    /// It cannot do without something that this host does not have.
    #[error(
        "needs the features {0:#x} of its host, which this one does not have: it was made for a newer one"
    )]
    Needs(u64),
    /// An extension's name is no text.
    #[error("has an extension whose name is no UTF-8")]
    Name,
    /// An extension without functions.
    #[error("has an extension without a table of functions")]
    NoTable,
    /// Its list of extensions is none.
    #[error(
        "describes a list of {0} extensions, which is not there or longer than any: `extensions` or `extension_count` is wrong"
    )]
    Extensions(usize),
    /// A function that must be there is not.
    #[error(
        "has the {kind} `{extension}` without the function `{function}`, which every one must have: it is null, or beyond the size that its table gives"
    )]
    NoFunction {
        /// What the extension is.
        kind: &'static str,
        /// Which extension.
        extension: String,
        /// Which function.
        function: &'static str,
    },
}
