//! `transom explain`: what would become of a request under a configuration.

mod json;
mod request;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use transom_config::check_file;
use transom_proxy::control::explain::explain as explain_request;

use self::request::Asked;
use crate::ask::ask;
use crate::choose::Choice;
use crate::command::Output;
use crate::{BAD_INPUT, FAULT, GOOD, check};

/// No route takes the request: the answer would be 404.
const NO_ROUTE: u8 = 1;

/// A question as it was typed.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) file: &'a Path,
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    /// `Name: value`.
    pub(crate) headers: &'a [String],
    pub(crate) listener: Option<&'a str>,
    /// Whether plugins are started and asked.
    pub(crate) plugins: bool,
    pub(crate) choice: &'a Choice,
    pub(crate) output: Output,
}

/// What is printed, and the exit code.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u8,
    stdout: String,
    stderr: String,
}

/// Answers a question on standard output.
pub(crate) fn explain(question: &Question<'_>) -> u8 {
    let Answer {
        code,
        stdout,
        stderr,
    } = answer(question);
    eprint!("{stderr}");
    // A reader that has seen enough (`| head`) closes the pipe.
    let _ = std::io::stdout().write_all(stdout.as_bytes());
    code
}

fn answer(question: &Question<'_>) -> Answer {
    let supervisor = transom_process::supervise::Supervisor::new();
    let logs = transom_logs::Logs::default();
    let registry = match check::registry(&logs, &supervisor, question.choice) {
        Ok(registry) => registry,
        Err(error) => return Answer::refused(FAULT, Output::Text, &error.to_string(), ""),
    };
    let asked = match Asked::new(question) {
        Ok(asked) => asked,
        Err(error) => {
            return Answer::refused(BAD_INPUT, question.output, &error.message, error.help);
        }
    };
    let configuration = match check_file(question.file, &registry) {
        Ok(configuration) => configuration,
        Err(report) => {
            return match question.output {
                Output::Text => Answer {
                    code: BAD_INPUT,
                    stdout: String::new(),
                    stderr: report.to_string(),
                },
                Output::Json => Answer::printed(BAD_INPUT, format!("{:#}\n", report.to_json())),
            };
        }
    };
    let mut notes = String::new();
    let mut phases = BTreeMap::new();
    if question.plugins {
        match ask(&configuration, &registry, &supervisor) {
            Ok(said) => {
                phases = said.phases;
                for note in said.notes {
                    notes.push_str(&format!("note: {note}\n"));
                }
            }
            Err(error) => notes = format!("note: plugins were not asked: {error}\n"),
        }
    }
    match explain_request(&configuration.resources, &registry, &asked.request(&phases)) {
        Err(error) => Answer::refused(BAD_INPUT, question.output, &error.message, &error.help),
        Ok(explanation) => {
            let code = if explanation.is_routed() {
                GOOD
            } else {
                NO_ROUTE
            };
            let shown = match question.output {
                Output::Text => text::render(&asked, &explanation),
                Output::Json => format!("{:#}\n", json::render(&asked, &explanation)),
            };
            Answer {
                stderr: notes,
                ..Answer::printed(code, shown)
            }
        }
    }
}

impl Answer {
    fn printed(code: u8, stdout: String) -> Self {
        Self {
            code,
            stdout,
            stderr: String::new(),
        }
    }

    fn refused(code: u8, output: Output, message: &str, help: &str) -> Self {
        match output {
            Output::Text => Self {
                code,
                stdout: String::new(),
                stderr: if help.is_empty() {
                    format!("transom: {message}\n")
                } else {
                    format!("transom: {message}\n  help: {help}\n")
                },
            },
            Output::Json => {
                let error = serde_json::json!({ "error": message, "help": help });
                Self::printed(code, format!("{error:#}\n"))
            }
        }
    }
}
