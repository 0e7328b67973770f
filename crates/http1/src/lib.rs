//! HTTP/1.1 as a codec without I/O: bytes in, events out; events in, bytes out.
