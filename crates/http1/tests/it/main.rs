//! The codec from outside: bytes in, events out; events in, bytes out.

mod encode;
mod hostile;
mod properties;
mod requests;
mod responses;
mod transcript;
