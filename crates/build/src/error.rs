//! Why a library is not built.

use std::io;
use std::path::PathBuf;

use transom_library::LoadError;

use crate::sign::SignError;

/// Why a library is not built: what was tried, on what, what came instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The name cannot be one of an extension.
    #[error(
        "`{0}` is no name of an extension: it begins with a letter and has lower case letters, digits and _ in it"
    )]
    Name(String),
    /// There is no such kind.
    #[error("Unknown plugin type: {kind} for {name}; a library can be: {known}", known = crate::KINDS.join(", "))]
    Kind {
        /// What was asked for.
        kind: String,
        /// For which extension.
        name: String,
    },
    /// The constructor is no path of Rust.
    #[error("`{0}` is no path of a function: write crate::function")]
    New(String),
    /// The folder has no crate.
    #[error("there is no crate in {path}: {why}", path = .path.display())]
    NoCrate {
        /// Where it was looked for.
        path: PathBuf,
        /// What cargo, or the system, says.
        why: String,
    },
    /// The crate has another name.
    #[error(
        "`{new}` is in the crate `{asked}`, and the crate in that folder is `{found}`: write {found}::function"
    )]
    OtherCrate {
        /// The path that was given.
        new: String,
        /// The crate that it names.
        asked: String,
        /// The crate that is there.
        found: String,
    },
    /// The crate has nothing that another crate can use.
    #[error(
        "the crate `{0}` is no library that other crates can use: its [lib] needs the crate-type \"rlib\", or none at all"
    )]
    NoLibrary(String),
    /// cargo cannot be started.
    #[error("cargo cannot be run: {0}; install Rust, or set CARGO to its path")]
    NoCargo(io::Error),
    /// cargo said no.
    #[error("cargo ended with {0}; its reasons stand above")]
    Cargo(String),
    /// cargo was content but named no library.
    #[error("cargo named no library among what it made")]
    NoArtifact,
    /// A folder could not be made.
    #[error("Failed to create dir {path}: {why}", path = .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// A file could not be written or read.
    #[error("{path}: {why}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// What was built cannot be loaded.
    #[error("the library was built, and {0}")]
    Load(#[from] LoadError),
    /// It could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl BuildError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |why| Self::File { path, why }
    }
}
