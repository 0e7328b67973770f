//! `transom plugin`: making, checking and calling plugins from the shell.

mod call;
mod check;
mod library;
mod new;
mod start;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::command::Output;
use crate::{FAULT, GOOD};

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Writes a plugin that builds, and passes its own test
    New {
        /// The language
        #[arg(long, value_enum)]
        lang: new::Language,
        /// What is to run it
        #[arg(long, value_enum, default_value_t)]
        runtime: new::RuntimeName,
        /// The folder `sdk` of Transom's sources; found around here, or where this program was built, unless said
        #[arg(long, value_name = "PATH")]
        sdk: Option<PathBuf>,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        /// The plugin's folder, whose last part is its name
        name: PathBuf,
    },
    /// Builds a shared library from a crate, where there is no network; tries it, and puts it in place with a manifest
    ///
    /// Needs cargo and a linker. Ends with 1 when it cannot be built or loaded, with 2 for wrong arguments.
    Build(library::BuildArgs),
    /// Signs a library or a program, as minisign does: the signature is FILE.minisig
    Sign(library::SignArgs),
    /// Starts a plugin and says what it is: handshake, services, versions, extensions and its first answer
    ///
    /// Ends with 0 when the plugin is good, with 1 when it is not, with 2 for wrong arguments.
    Check {
        /// What it is to speak; found out unless said
        #[arg(long, value_enum)]
        protocol: Option<Protocol>,
        /// Its configuration for the first answer, as JSON
        #[arg(long, value_name = "JSON", default_value = "")]
        config: String,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        program: Program,
    },
    /// Sends a request to a plugin and shows what it makes of it
    ///
    /// A stream filter sees the request, and the upstream's answer if `--status` gives one. A certificate provider is asked for the name
    /// in `--server-name`. Callouts find no cluster. Ends with 0 when the request goes on or is answered, with 1 when the plugin fails.
    Call(Box<CallArgs>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// transom.plugin.v1
    Transom,
    /// MOSN's proto.Plugin/Call
    Call,
}

/// The plugin's own command line.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// The plugin's program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// What the plugin is to speak; found out unless said
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// Which of its extensions is asked; its first unless said
    #[arg(long, value_name = "NAME")]
    extension: Option<String>,
    /// The extension's configuration, as JSON
    #[arg(long, value_name = "JSON", default_value = "")]
    config: String,
    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,
    /// The request's path, with its query
    #[arg(long, default_value = "/")]
    path: String,
    /// A header of the request
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The request's body
    #[arg(long, value_name = "TEXT", default_value = "")]
    body: String,
    /// The status of the upstream's answer, which comes back through the filter
    #[arg(long, value_name = "STATUS", default_value_t = 200)]
    status: u16,
    /// The body of the upstream's answer
    #[arg(long, value_name = "TEXT", default_value = "")]
    response_body: String,
    /// Asks a certificate provider for this name; empty for the certificate of those that ask for none
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// MOSN's `type` of the call
    #[arg(long = "type", value_name = "TEXT", default_value = "")]
    kind: String,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    program: Program,
}

/// Does what was asked for; the exit code.
pub(crate) fn run(command: &PluginCommand) -> u8 {
    match command {
        PluginCommand::New {
            lang,
            runtime,
            sdk,
            output,
            name,
        } => return new::new(*lang, *runtime, name, sdk.as_deref(), *output),
        PluginCommand::Build(arguments) => return library::build(arguments),
        PluginCommand::Sign(arguments) => return library::sign(arguments),
        PluginCommand::Check { .. } | PluginCommand::Call(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("transom: no event loop: {error}");
            return FAULT;
        }
    };
    runtime.block_on(async {
        match command {
            PluginCommand::Check {
                protocol,
                config,
                output,
                program,
            } => check::check(*protocol, config, *output, program).await,
            PluginCommand::Call(arguments) => call::call(arguments).await,
            PluginCommand::New { .. } | PluginCommand::Build(_) | PluginCommand::Sign(_) => GOOD,
        }
    })
}

/// Shows a failure in the way that was asked for; the exit code.
fn failed(output: Output, code: u8, error: &str, help: &str) -> u8 {
    match output {
        Output::Text => {
            eprintln!("error: {error}");
            if !help.is_empty() {
                eprintln!("  help: {help}");
            }
        }
        Output::Json => println!("{:#}", serde_json::json!({ "error": error, "help": help })),
    }
    code
}
