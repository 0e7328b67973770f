//! What was wrong with the bytes.

use thiserror::Error;

/// Why bytes from a peer were refused. After one of these the decoder answers every call with the same error: where
/// the next message begins is not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    // The start line.
    /// RFC 9112 section 2.2 lets a server skip at least one empty line before a request; more is not a client's slip.
    #[error("more than {limit} empty lines before the request line")]
    EmptyLines {
        /// How many are taken.
        limit: u8,
    },
    /// See [`Limits::request_line`](crate::Limits::request_line).
    #[error("the request line is longer than {limit} bytes")]
    RequestLineTooLong {
        /// The bound in bytes.
        limit: u32,
    },
    /// RFC 9112 section 3: method, one space, target, one space, version.
    #[error("the request line is not `method target version` with one space between each")]
    RequestLine,
    /// RFC 9110 section 9.1: a method is a token.
    #[error("byte {byte:#04x} in the method, which is to be a token")]
    Method {
        /// What was found.
        byte: u8,
    },
    /// RFC 9112 section 3.2: a target is visible ASCII without a fragment.
    #[error("byte {byte:#04x} in the request target")]
    Target {
        /// What was found.
        byte: u8,
    },
    /// RFC 9112 section 3.2: the four forms, each for its methods.
    #[error("the request target has no form that this method may have")]
    TargetForm,
    /// An escaped NUL ends a path early for whoever unescapes it into a C string.
    #[error("%00 in the path of the request target")]
    TargetNul,
    /// RFC 9112 section 2.3.
    #[error("the version is not `HTTP/` digit `.` digit")]
    VersionSyntax,
    /// RFC 9110 section 15.6.6: this codec speaks 1.0 and 1.1.
    #[error("HTTP/{major}.{minor} is not spoken here")]
    Version {
        /// As sent.
        major: u8,
        /// As sent.
        minor: u8,
    },
    /// RFC 9112 section 4: version, space, three digits, and a space before any reason.
    #[error("the status line is not `version status reason`")]
    StatusLine,
    /// RFC 9112 section 4: a reason is text.
    #[error("byte {byte:#04x} in the reason phrase")]
    Reason {
        /// What was found.
        byte: u8,
    },

    // Lines.
    /// See [`Limits::head`](crate::Limits::head).
    #[error("the head or the trailers are larger than {limit} bytes")]
    HeadTooLarge {
        /// The bound in bytes.
        limit: u32,
    },
    /// See [`Limits::fields`](crate::Limits::fields).
    #[error("more than {limit} fields")]
    TooManyFields {
        /// The bound.
        limit: u16,
    },
    /// RFC 9112 section 2.2.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// RFC 9112 section 2.2.
    #[error("CR without LF")]
    BareCr,
    /// RFC 9112 section 5.2: a field line that goes on in the next.
    #[error("a line begins with a blank (folded field)")]
    ObsFold,
    /// RFC 9112 section 5.
    #[error("a field line without a colon")]
    NoColon,
    /// RFC 9112 section 5.
    #[error("a field without a name")]
    EmptyFieldName,
    /// RFC 9112 section 5.1: a name that some read and others do not.
    #[error("a blank between a field's name and its colon")]
    BlankBeforeColon,
    /// RFC 9110 section 5.1: a name is a token.
    #[error("byte {byte:#04x} in a field's name")]
    FieldName {
        /// What was found.
        byte: u8,
    },
    /// RFC 9110 section 5.5: no control byte but HTAB.
    #[error("byte {byte:#04x} in a field's value")]
    FieldValue {
        /// What was found.
        byte: u8,
    },

    // Framing.
    /// RFC 9110 section 8.6: digits, and a number that everyone can hold (below 2^63).
    #[error("Content-Length is not one number below 2^63")]
    ContentLength,
    /// RFC 9112 section 6.3: even equal ones are refused.
    #[error("more than one Content-Length")]
    ContentLengthRepeated,
    /// RFC 9112 section 6.1: the mark of request smuggling.
    #[error("both Content-Length and Transfer-Encoding")]
    ContentLengthAndTransferEncoding,
    /// RFC 9112 section 6.1: exactly one `chunked`.
    #[error("Transfer-Encoding is not exactly one `chunked`")]
    TransferEncoding,
    /// RFC 9112 section 6.1: answered with 501.
    #[error("Transfer-Encoding names a coding other than `chunked`")]
    TransferCoding,
    /// RFC 9112 section 6.1: its framing cannot be trusted.
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    TransferEncodingInHttp10,
    /// RFC 9110 section 9.3.6 (a CONNECT request) and 15.2, 15.3.5 (1xx and 204), 9.3.6 (2xx to CONNECT).
    #[error("a body is announced where none can be")]
    BodyForbidden,

    // Other fields.
    /// RFC 9112 section 3.2.
    #[error("no Host in an HTTP/1.1 request")]
    HostMissing,
    /// RFC 9112 section 3.2.
    #[error("more than one Host")]
    HostRepeated,
    /// RFC 9112 section 3.2: a host that is not empty, and a port if there is a colon.
    #[error("Host, or the authority in the target, is not `host` or `host:port`")]
    HostSyntax,
    /// RFC 9112 section 3.2.2.
    #[error("the authority in the target is another than that in Host")]
    HostMismatch,
    /// RFC 9110 section 7.6.1: a list of tokens.
    #[error("Connection is not a list of tokens")]
    Connection,
    /// RFC 9110 section 7.6.1: a field for all recipients must not be nominated; without it the message is another.
    #[error("Connection nominates Host or Content-Length")]
    ConnectionNominates,
    /// A bound of this codec.
    #[error("Connection nominates more than {limit} fields")]
    TooManyNominated {
        /// The bound.
        limit: u8,
    },
    /// RFC 9110 section 10.1.1.
    #[error("Expect asks for something other than 100-continue")]
    Expectation,
    /// RFC 9110 section 15.2.2.
    #[error(
        "a 101 to a request that asked for no upgrade, or without `Connection: upgrade` and Upgrade"
    )]
    Switch,

    // Chunks.
    /// RFC 9112 section 7.1: hexadecimal digits.
    #[error("byte {byte:#04x} in a chunk's size")]
    ChunkSize {
        /// What was found.
        byte: u8,
    },
    /// RFC 9112 section 7.1: at most 16 digits, below 2^63.
    #[error("a chunk's size is 2^63 or more, or has more than 16 digits")]
    ChunkSizeTooLarge,
    /// RFC 9112 section 7.1.1.
    #[error("byte {byte:#04x} in a chunk's extension")]
    ChunkExtension {
        /// What was found.
        byte: u8,
    },
    /// See [`Limits::chunk_extension`](crate::Limits::chunk_extension) and
    /// [`Limits::chunk_extensions`](crate::Limits::chunk_extensions).
    #[error("chunk extensions longer than {limit} bytes")]
    ChunkExtensionTooLong {
        /// The bound in bytes.
        limit: u32,
    },
    /// RFC 9112 section 7.1: the data of a chunk is followed by CR LF.
    #[error("byte {byte:#04x} where a chunk is to end in CR LF")]
    ChunkEnd {
        /// What was found.
        byte: u8,
    },
    /// RFC 9110 section 6.5.1.
    #[error("a trailer that frames or routes the message, or is for one hop only")]
    TrailerForbidden,

    // The order of messages.
    /// A server that speaks unasked: what follows a response is not the next response.
    #[error("bytes from the server when no request was waiting for an answer")]
    Unasked,
    /// A fault of the caller: `begin` was called before the response ended.
    #[error("a request was begun before the last response had ended")]
    Overlap,
    /// The connection closed before the first byte of an answer.
    #[error("the connection closed before any byte of the answer")]
    ClosedBeforeAnswer,
    /// RFC 9112 section 8.
    #[error("the connection closed within a message")]
    Truncated,
    /// Refused by one of the two parsers and not by the other; no input is known that gives this.
    #[error("the head is malformed")]
    Malformed,
}

impl DecodeError {
    /// The status that a server answers to a request with this fault. A proxy answers 502 when a response has one,
    /// whichever it is.
    pub fn status(&self) -> u16 {
        match self {
            Self::RequestLineTooLong { .. } => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge { .. } | Self::TooManyFields { .. } => 431,
            Self::TransferCoding => 501,
            Self::Version { .. } => 505,
            _ => 400,
        }
    }
}

/// Why a message cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// RFC 9110 section 9.1.
    #[error("the method is not a token")]
    Method,
    /// RFC 9112 section 3.2.
    #[error("the request target is empty or has a byte that is not visible ASCII")]
    Target,
    /// RFC 9112 section 4.
    #[error("the reason phrase has a control byte")]
    Reason,
    /// 100 to 999; a head that ends an exchange cannot be 1xx but 101, an interim head only 1xx but 101.
    #[error("status {status} cannot be written here")]
    Status {
        /// What was asked.
        status: u16,
    },
    /// RFC 9110 section 5.1.
    #[error("a field's name is not a token")]
    FieldName,
    /// RFC 9110 section 5.5.
    #[error("byte {byte:#04x} in a field's value")]
    FieldValue {
        /// What was found.
        byte: u8,
    },
    /// RFC 9112 section 3.2.
    #[error("an HTTP/1.1 request needs exactly one Host, not {count}")]
    Host {
        /// How many there were.
        count: u8,
    },
    /// RFC 9112 section 6.1.
    #[error("chunks cannot be sent to an HTTP/1.0 peer")]
    ChunkedToHttp10,
    /// RFC 9112 section 6.3: only a response can end with its connection.
    #[error("a request cannot last until the connection closes")]
    RequestUntilClose,
    /// RFC 9110 section 9.3.6 and 15.
    #[error("this message can have no body")]
    BodyForbidden,
    /// RFC 9110 section 15.2.2: 101 and an upgrade go together.
    #[error("a 101 is written with an upgrade, and only with one")]
    Switch,
    /// RFC 9112 section 8.
    #[error("the body is {excess} bytes longer than was promised")]
    BodyTooLong {
        /// How many bytes too many.
        excess: u64,
    },
    /// RFC 9112 section 8.
    #[error("the body is {missing} bytes shorter than was promised")]
    BodyTooShort {
        /// How many bytes are missing.
        missing: u64,
    },
    /// A fault of the caller: data, or another end, after the end; or the end within a chunk.
    #[error("the body is over, or a chunk of it is still open")]
    Order,
}
