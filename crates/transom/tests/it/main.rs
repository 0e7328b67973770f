//! The program as a process: signals, exit codes, and what a person is told.

mod exit;
mod folders;
mod libraries;
mod library_kinds;
mod memory;
mod plugin_commands;
mod plugins;
mod program;
mod signals;
