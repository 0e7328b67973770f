//! The host's side: [`Client::start`] starts a plugin and connects to it.

mod checksum;
mod client;
mod command;
mod config;
mod connection;
mod diagnose;
mod discover;
mod error;
mod exit;
mod folder;
mod health;
mod launch;
mod managed;
mod process;
mod program;
mod reattach;
mod runner;
mod start;
mod stdio;
mod watched;

pub use checksum::{Checksum, ChecksumError, SecureConfig};
pub use client::{Client, Connector};
pub use config::{ClientConfig, Environment, PluginSet, PluginStdin, UnixSockets};
pub use connection::Connection;
pub use discover::discover;
pub use error::{DispenseError, StartError};
pub use exit::Exit;
pub use health::serving;
pub use managed::Clients;
pub use program::Program;
pub use reattach::ReattachConfig;
pub use runner::{Boxed, Launch, Runner, Running};
