//! The form "library": the interface's traits, hosted over the C interface of [`transom_abi`].
//!
//! [`export_plugin!`](crate::export_plugin) makes the one symbol that a library exports, and a table of functions for each of
//! its extensions. The functions find the object that they are called for, stand a context before it whose every question
//! goes to the host's table, and call the very trait that the proxy calls when the extension is compiled in. A panic is
//! caught there: it never crosses the border.
//!
//! ```text
//! host ─▶ table (stream_filter.rs) ─▶ guard.rs ─▶ StreamFilter ─▶ Stream ─▶ stream.rs ─▶ host's table (host.rs)
//! ```

// The border of the process's own code.
#![expect(unsafe_code)]

mod config;
mod guard;
mod host;
mod json;
mod later;
mod prepare;
mod record;
mod stream;
pub mod stream_filter;
mod worker;

use std::sync::OnceLock;

pub use transom_abi as abi;
use transom_abi::{Extension, Host, Library, Slice};

use crate::library::host::slice_of;

/// What [`export_plugin!`](crate::export_plugin) tells of the library itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// The description of a library, made when it is first asked for. For [`export_plugin!`](crate::export_plugin).
#[doc(hidden)]
pub struct Described(OnceLock<Kept>);

/// A description and what it points to: never changed, never freed.
struct Kept {
    library: Library,
    /// Where `library` points to.
    _extensions: Box<[Extension]>,
}

// SAFETY: Nothing in it is written once it is made.
unsafe impl Send for Kept {}
// SAFETY: As above.
unsafe impl Sync for Kept {}

impl Described {
    /// A description that nobody has asked for.
    #[must_use]
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Answers a host with the description; null, if it lacks what this SDK cannot do without.
    ///
    /// # Safety
    ///
    /// `host` must be what the host calls the entry with.
    pub unsafe fn entry(
        &'static self,
        host: *const Host,
        about: About,
        extensions: impl FnOnce() -> Vec<Extension>,
    ) -> *const Library {
        // SAFETY: Promised by the caller.
        if !unsafe { host::begin(host) } {
            return std::ptr::null();
        }
        let kept = self.0.get_or_init(|| {
            let extensions = extensions().into_boxed_slice();
            Kept {
                library: Library {
                    magic: abi::MAGIC,
                    size: size_of::<Library>(),
                    major: abi::MAJOR,
                    minor: abi::MINOR,
                    reserved: 0,
                    needs: 0,
                    name: slice_of(about.name.as_bytes()),
                    version: slice_of(about.version.as_bytes()),
                    made_with: MADE_WITH,
                    extensions: extensions.as_ptr(),
                    extension_count: extensions.len(),
                    extension_size: size_of::<Extension>(),
                },
                _extensions: extensions,
            }
        });
        &raw const kept.library
    }
}

const MADE_WITH_TEXT: &str = concat!("transom-sdk ", env!("CARGO_PKG_VERSION"), " for Rust");
const MADE_WITH: Slice = Slice {
    bytes: MADE_WITH_TEXT.as_ptr(),
    len: MADE_WITH_TEXT.len(),
};

/// Makes the crate a library for Transom: exports the one symbol that the proxy looks for.
///
/// An entry is a name and what it stands for: a type that is a [`Builtin`](transom_api::builtin::Builtin), which makes it a stream
/// filter; or a kind, and in parentheses the function that makes its factory. The name is what a use has behind the slash; it
/// may be left out where the library has one extension of that kind. Once in a crate of the type `cdylib`.
///
/// ```
/// use std::sync::Arc;
/// use transom_sdk::api::builtin::{self, Builtin};
/// use transom_sdk::api::{Factory, Node, ParseError, Schema, StreamFilter, StreamFilters};
///
/// #[derive(Clone)]
/// struct Auth;
///
/// impl Builtin for Auth {
///     type Filter = Auth;
///
///     fn schema() -> Schema {
///         Schema::object()
///     }
///
///     fn parse(node: &Node) -> Result<Self, ParseError> {
///         node.as_fields()?.finish()?;
///         Ok(Self)
///     }
///
///     fn filter(&self) -> Self {
///         Self
///     }
/// }
///
/// impl StreamFilter for Auth {}
///
/// fn new() -> Arc<dyn Factory<StreamFilters>> {
///     builtin::factory::<Auth>()
/// }
///
/// transom_sdk::export_plugin! {
///     auth: Auth,
///     tokens: stream_filter(new),
/// }
/// ```
#[macro_export]
macro_rules! export_plugin {
    // For `transom plugin build`, whose crate is not the one that the library is of.
    (@of $name:literal $version:literal; $($entries:tt)*) => {
        $crate::__export_entry!($name, $version; $($entries)*);
    };
    ($($entries:tt)*) => {
        $crate::__export_entry!(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"); $($entries)*);
    };
}

/// The symbol of [`export_plugin!`](crate::export_plugin).
#[doc(hidden)]
#[macro_export]
macro_rules! __export_entry {
    ($name:expr, $version:expr; $($entries:tt)*) => {
        #[cfg(panic = "abort")]
        compile_error!("a library for Transom must not be built with `panic = \"abort\"`: a panic would end the proxy");

        /// The one symbol of the library.
        ///
        /// # Safety
        ///
        /// `host` must be the table of a Transom.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn transom_library_entry(
            host: *const $crate::library::abi::Host,
        ) -> *const $crate::library::abi::Library {
            static DESCRIBED: $crate::library::Described = $crate::library::Described::new();
            let about = $crate::library::About {
                name: $name,
                version: $version,
            };
            // SAFETY: What the host promises.
            unsafe {
                DESCRIBED.entry(host, about, || {
                    #[allow(unused_mut)]
                    let mut extensions = ::std::vec::Vec::new();
                    $crate::__export!(extensions; $($entries)*);
                    extensions
                })
            }
        }
    };
}

/// One entry of [`export_plugin!`](crate::export_plugin) after the other: an arm for each kind.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($extensions:ident;) => {};
    ($extensions:ident; $name:ident: stream_filter($make:path) $(, $($rest:tt)*)?) => {
        {
            struct Made;
            impl $crate::library::stream_filter::Make for Made {
                fn make() -> ::std::sync::Arc<dyn $crate::api::Factory<$crate::api::StreamFilters>> {
                    $make()
                }
            }
            $extensions.push($crate::library::stream_filter::extension::<Made>(stringify!($name)));
        }
        $crate::__export!($extensions; $($($rest)*)?);
    };
    ($extensions:ident; $name:ident: $type:ty $(, $($rest:tt)*)?) => {
        $extensions.push(
            $crate::library::stream_filter::extension::<
                $crate::library::stream_filter::Builtins<$type>,
            >(stringify!($name)),
        );
        $crate::__export!($extensions; $($($rest)*)?);
    };
}
