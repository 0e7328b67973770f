//! The border between Transom and extensions in shared libraries: what both sides agree on, as C sees it.
//!
//! A library exports one symbol, [`ENTRY`]. Called with the host's table of functions, it answers with a description of
//! itself: which extensions it has, each with a table of its functions. All else goes through these two tables.
//!
//! The rules, at length in `docs/abi.md`:
//!
//! * A struct that is passed by pointer begins with its size. Within a major version fields are only appended, and a field
//!   beyond the size that the other side gives is not there. Numbers that a library is given never get new meanings.
//! * A host's object is a [`Handle`], good during the callback that it was given to and on that thread only; used later, or
//!   elsewhere, it is refused with [`GONE`]. The exception is [`Resumer`], which any thread may use.
//! * What one side lends the other, as a [`Slice`], is borrowed: what a library is given, until its callback returns or it
//!   changes the same map or body; what a library gives, until the function returns.
//! * Nobody frees the other's memory.
//! * No function may unwind into the other side.

#![no_std]
// Tables are shared between threads, which only their maker can promise.
#![expect(unsafe_code)]

mod access_log;
mod certificate_provider;
mod client;
mod event;
mod host;
mod library;
mod listener;
mod network;
mod selector;
mod values;

pub use access_log::*;
pub use certificate_provider::*;
pub use client::*;
pub use event::*;
pub use host::*;
pub use library::*;
pub use listener::*;
pub use network::*;
pub use selector::*;
pub use values::*;

/// The name of the one symbol that a library exports: a function of the type [`EntryFn`].
pub const ENTRY: &str = "transom_library_entry";

/// The type of [`ENTRY`]: it gets the host's functions and answers with what the library has. Both live as long as the
/// process. It may be called more than once, and answers the same. Null refuses the host; then the library has written
/// why into the log of the host.
pub type EntryFn = unsafe extern "C" fn(host: *const Host) -> *const Library;

/// What [`Library::magic`] begins with: `TRANSOM` and a line feed.
pub const MAGIC: u64 = 0x5452_414e_534f_4d0a;

/// The major version: two sides with different ones have nothing to say to each other.
pub const MAJOR: u16 = 1;

/// The minor version: what was appended since the major one.
pub const MINOR: u16 = 0;
