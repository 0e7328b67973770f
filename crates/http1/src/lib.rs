//! HTTP/1.1 as a codec without I/O: bytes in, events out; events in, bytes out.
//!
//! A proxy has two connections per exchange, and so two decoders and two encoders. Bytes go through them like this:
//!
//! ```text
//!   client ──► RequestDecoder ──► head, data, trailers, end ──► encode::request_head + BodyEncoder ──► server
//!   client ◄── BodyEncoder + encode::response_head ◄── head, data, trailers, end ◄── ResponseDecoder ◄── server
//! ```
//!
//! **Decoding.** The caller owns one read buffer per connection and shows it to the decoder, which answers with an
//! [`Event`] and the number of bytes that the event used up. Nothing is copied or allocated: methods, targets, fields
//! and data are [`Span`]s of the buffer that was shown, fields go one by one to the caller's [`FieldSink`]. A head is
//! consumed when it is whole; a decoder remembers how far it has looked, so that a head which drips in costs no more
//! than its bytes. Body data is handed on as it comes.
//!
//! **Strictness.** What is doubtful is refused, never guessed: most attacks on chains of proxies live from two readings
//! of one message. Where RFC 9110 and RFC 9112 give a choice between refusing and mending, this crate refuses, and
//! [`DecodeError`] says which rule it was. The verdict depends on the bytes and the [`Limits`] only, not on how the
//! bytes were cut on their way.
//!
//! **Encoding.** Heads are appended to a `Vec<u8>` that the caller owns. Names and values are checked again, because a
//! filter may have set them; fields that frame the message or belong to the connection are written from arguments only.
//! A [`BodyEncoder`](encode::BodyEncoder) then holds the sender to what its head promised.
//!
//! A decoder that has failed stays failed: where the next message would begin is not known. There is no way to be lenient
//! but one switch for bare LF in heads ([`Limits::allow_bare_lf_in_head`]).

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod body;
mod bytes;
pub mod encode;
mod error;
mod event;
mod facts;
mod field;
mod head;
mod limits;
mod lines;
mod nominated;
mod request;
mod response;
mod span;
mod target;

pub use error::{DecodeError, EncodeError};
pub use event::{Eof, Event, Framing, RequestHead, RequestKind, ResponseHead, Version};
pub use field::{Field, FieldSink, Known};
pub use limits::Limits;
pub use request::RequestDecoder;
pub use response::ResponseDecoder;
pub use span::Span;
pub use target::TargetForm;
