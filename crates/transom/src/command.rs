//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::choose::Choice;
use crate::plugin::PluginCommand;

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
    /// TRANSOM_PLUGIN (or MICRO_PLUGIN) names libraries, with commas between them, that are loaded before anything starts.
    Run {
        /// The configuration
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        choice: Choice,
    },
    /// Says whether a configuration is good, and if not, where and why
    ///
    /// Plugins in processes that speak transom.plugin.v1 are started, as the configuration declares them, asked about the configurations of
    /// their uses, and ended. One that does not start is told of and is no fault of the configuration.
    Check {
        /// The configuration
        file: PathBuf,
        /// Starts no plugin: what only they know is not checked
        #[arg(long)]
        no_plugins: bool,
        #[command(flatten)]
        choice: Choice,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Says what would become of a request: which listener, route and filters take it, and where it goes
    ///
    /// Nothing is sent and no filter is run; plugins are started and asked for what only they know, as `check` does. Ends with 0 when there is a route, with 1 when there is none, with 2 when the
    /// configuration or the request is bad.
    Explain {
        /// The configuration
        file: PathBuf,
        /// The method, such as GET
        method: String,
        /// http://HOST:PORT/PATH, or only the path
        url: String,
        /// A header of the request; `Host` takes the place of the URL's host
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// The listener, when the URL does not lead to it
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
        /// Starts no plugin: the phases that only they know are not shown
        #[arg(long)]
        no_plugins: bool,
        #[command(flatten)]
        choice: Choice,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Checks, calls and makes plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
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
