//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Transom, a proxy for L4 and L7 that people extend without rebuilding it.
#[derive(Debug, Parser)]
#[command(name = "transom", version, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves a configuration; without a file, an example with an upstream of its own
    ///
    /// SIGHUP reads the file again: the new configuration becomes active on all workers, or the old one stays.
    /// SIGTERM and SIGINT end: no more connections are taken, those that are there may finish within `drain_timeout`;
    /// a second signal ends at once. TRANSOM_LOG sets the log's level (error, warn, info, debug, trace).
    Run {
        /// The configuration
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Says whether a configuration is good, and if not, where and why
    Check {
        /// The configuration
        file: PathBuf,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Prints the JSON Schema of the configuration, built-in filters included
    Schema,
    /// Prints the version
    Version,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    /// For a person
    #[default]
    Text,
    /// For a program
    Json,
}
