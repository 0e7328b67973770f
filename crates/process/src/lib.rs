//! Extensions in child processes.
//!
//! [`runtime`] is what the proxy registers: it reads declarations of plugins, has [`supervise`] keep their processes running, and lets them be
//! used as filters and certificate providers over [`v1`], Transom's own protocol, or MOSN's.
//!
//! [`call`] is MOSN's plugin protocol as a library for any Rust program, both sides. A program gives a plugin's name
//! and calls it; the plugin is started beside it, and started again when it has died:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use transom_process::{Config, Request, register};
//!
//! let client = register("plugin-server", Config::default()).await?;
//! let request = Request { body: b"hello".to_vec(), ..Request::default() };
//! let response = client.call(request, Duration::from_secs(1)).await?;
//! println!("{}", String::from_utf8_lossy(&response.body));
//! # Ok(())
//! # }
//! ```
//!
//! and on the other side, in a program of its own:
//!
//! ```no_run
//! use transom_process::{Request, Response, ServiceError, serve};
//!
//! fn main() -> std::process::ExitCode {
//!     serve(|request: Request| async move {
//!         Ok::<_, ServiceError>(Response { body: request.body, status: 1, ..Response::default() })
//!     })
//! }
//! ```

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod agents;
pub mod call;
pub mod launch;
pub mod needs;
pub mod probe;
mod remote;
pub mod runtime;
mod servers;
pub mod supervise;
pub mod v1;

pub use runtime::ProcessRuntime;

pub use call::{
    CallError, Client, Config, RegisterError, Request, Response, Service, ServiceError, Status,
    register, serve,
};
