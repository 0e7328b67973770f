//! The crate as its users see it: real processes, real sockets. Go's side of the protocol is in `interop/`.

mod broker;
mod connections;
mod environment;
mod hostile;
mod lifetime;
mod mutual_tls;
mod rogue;
mod runner;
mod secure;
mod services;
mod start_errors;
mod support;
mod test_mode;
