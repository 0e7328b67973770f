//! The program: command line, and the only place that knows all runtimes and sources.

mod allocator;
mod ask;
mod check;
mod choose;
mod command;
mod control;
mod example;
mod explain;
mod folders;
mod log;
mod node_json;
mod plugin;
mod plugins;
mod run;

use std::process::ExitCode;

use clap::Parser;

use crate::command::{Command, CommandLine};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Ended well.
const GOOD: u8 = 0;
/// A fault while running.
const FAULT: u8 = 1;
/// Bad arguments or a bad configuration.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    // First of all: a launcher must have one thread.
    if let Some(code) = plugins::launch().or_else(plugins::probe) {
        return code;
    }
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Help and version are answers, not errors; they go to stdout.
            let code = if error.use_stderr() { BAD_INPUT } else { GOOD };
            // A closed pipe is the reader's choice.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let code = match line.command {
        Command::Run { config, choice } => run::run(config.as_deref(), &choice),
        Command::Check {
            file,
            no_plugins,
            choice,
            output,
        } => check::check(&file, &choice, !no_plugins, output),
        Command::Explain {
            file,
            method,
            url,
            headers,
            listener,
            no_plugins,
            choice,
            output,
        } => explain::explain(&explain::Question {
            file: &file,
            method: &method,
            url: &url,
            headers: &headers,
            listener: listener.as_deref(),
            plugins: !no_plugins,
            choice: &choice,
            output,
        }),
        Command::Plugin(command) => plugin::run(&command),
        Command::Schema => check::schema(),
        Command::Version => {
            println!("transom {}", env!("CARGO_PKG_VERSION"));
            GOOD
        }
    };
    ExitCode::from(code)
}
