//! The plugin's side: [`serve`] is a plugin's `main`.

mod config;
mod controller;
mod error;
mod log_layer;
mod panic;
mod parent;
mod serve;
mod set;
mod stdio;

pub use config::{Network, PluginStdio, ServeConfig};
pub use error::ServeError;
pub use log_layer::HclogLayer;
pub use serve::{TestServer, serve, serve_test, try_serve};
pub use set::PluginSet;
