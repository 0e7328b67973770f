//! The admin interface over real sockets: a raw client on one side, a proxy that only pretends on the other.

mod client;
mod endpoints;
mod guard;
mod limits;
mod proxy;
mod sockets;
