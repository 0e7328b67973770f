//! Makes a shared library out of a crate: what `transom plugin build` and `transom plugin sign` do.
//!
//! ```text
//! request ─▶ user.rs    which crate, and which SDK it was written against
//!         ─▶ glue.rs    a crate of a few lines that exports its constructor, in a private folder
//!         ─▶ sources.rs with the SDK's sources out of this program, unless the crate brings its own
//!         ─▶ cargo.rs   cargo, offline
//!         ─▶ install.rs loaded by a child process, put in place under its name, with a manifest and a signature
//! ```
//!
//! Nothing is needed but this program, cargo and a linker: `transom-sdk` has no dependencies of others in its form "library", and its
//! sources are part of this program.
//!
//! [`micro`] has the same as library calls with the meaning that go-micro gave them.

mod cargo;
mod error;
mod glue;
mod install;
pub mod micro;
mod sign;
mod sources;
mod user;

use std::path::PathBuf;

pub use error::BuildError;
pub use install::Built;
pub use sign::{SignError, sign};
pub use sources::{HEADER, write_sdk};
use transom_library::Prober;

/// The kinds of extensions that a library can be built for, as they are named in configurations.
pub const KINDS: [&str; 1] = ["stream_filter"];

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Request {
    /// The extension's name.
    pub name: String,
    /// Its kind: one of [`KINDS`].
    pub kind: String,
    /// The folder of the crate that it comes from.
    pub path: PathBuf,
    /// The function in it that makes the extension's factory: `crate::function`.
    pub new: String,
    /// Where the library is put; `NAME-HASH.so` here, unless said.
    pub output: Option<PathBuf>,
    /// The secret key that signs it.
    pub key: Option<PathBuf>,
}

/// Builds a library. What cargo has to say goes to standard error.
pub fn build(request: &Request, prober: &Prober) -> Result<Built, BuildError> {
    let glue = glue::Glue::read(&request.name, &request.kind, &request.new)?;
    let user = user::User::find(&request.path)?;
    glue.is_of(&user)?;
    let folder = glue::Folder::new()?;
    glue.write(&folder, &user)?;
    let library = cargo::build(&folder, &glue)?;
    install::install(request, &library, prober)
}
