//! What one message may cost.

/// Bounds on what a peer may send. The defaults are safe for strangers.
///
/// A limit is part of the verdict: with the same limits the same bytes give the same events and the same error,
/// however the bytes were cut on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request line without its line end; above it 414. Default 8 KiB (RFC 9112 section 3 asks for at
    /// least 8,000 octets).
    pub request_line: u32,
    /// Bytes of a head from its first byte to the end of its empty line; above it 431. Trailers have the same bound
    /// of their own. Default 60 KiB.
    pub head: u32,
    /// Fields of a head; above it 431. Trailers have the same bound of their own. Default 100, at most
    /// [`Limits::MOST_FIELDS`].
    pub fields: u16,
    /// Bytes of the extensions of one chunk; above it 400. Default 256: nobody is known to use them, so this only has
    /// to be more than nothing.
    pub chunk_extension: u16,
    /// Bytes of the extensions of all chunks of a message; above it 400 (RFC 9112 section 7.1.1 asks for such a
    /// bound). Default 16 KiB.
    pub chunk_extensions: u32,
    /// Whether a line of a head may end in a bare LF (RFC 9112 section 2.2 lets a recipient choose). Lines that frame
    /// chunks and trailers never may. Default no.
    pub allow_bare_lf_in_head: bool,
}

impl Limits {
    /// The highest number of fields that a decoder looks at, whatever [`Limits::fields`] says: they are parsed into
    /// an array on the stack.
    pub const MOST_FIELDS: u16 = 1024;

    /// The bound on fields that is in force.
    pub(crate) fn fields_in_force(&self) -> u16 {
        self.fields.min(Self::MOST_FIELDS)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            head: 60 * 1024,
            fields: 100,
            chunk_extension: 256,
            chunk_extensions: 16 * 1024,
            allow_bare_lf_in_head: false,
        }
    }
}
