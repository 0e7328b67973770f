//! The services beside a real data plane, against servers that a test writes.

mod als;
mod connections;
mod ext_authz;
mod ext_proc;
mod plugins;
mod server;
mod settings;
