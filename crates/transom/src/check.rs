//! `transom check` and `transom schema`.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::sync::Arc;

use transom_api::Registry;
use transom_config::{Report, check_file};
use transom_logs::Logs;
use transom_process::launch::cgroup::Delegated;
use transom_process::supervise::Supervisor;

use crate::ask::ask;
use crate::choose::{self, Choice};
use crate::command::Output;
use crate::{BAD_INPUT, GOOD, plugins};

/// All built-in extensions, the runtimes of plugins, what the environment brings along, and what is chosen.
pub(crate) fn registry(
    logs: &Logs,
    supervisor: &Arc<Supervisor>,
    choice: &Choice,
) -> anyhow::Result<Registry> {
    registry_in(logs, supervisor, choice, None)
}

/// The same for a program that runs plugins, each in a cgroup of its own where some were delegated.
pub(crate) fn registry_in(
    logs: &Logs,
    supervisor: &Arc<Supervisor>,
    choice: &Choice,
    cgroup: Option<Delegated>,
) -> anyhow::Result<Registry> {
    let mut registry = Registry::new();
    transom_filters::register(&mut registry)?;
    transom_services::register(&mut registry)?;
    logs.register(&mut registry)?;
    transom_proxy::register_certificate_providers(&mut registry)?;
    transom_proxy::register_ways(&mut registry)?;
    transom_registries::register(&mut registry)?;
    let brokers = transom_brokers::register(&mut registry)?;
    plugins::register_runtimes(&mut registry, supervisor, cgroup)?;
    let mut registry = choose::bring(registry, &plugins::prober())?;
    choice.make(&mut registry)?;
    brokers.fill(&registry);
    Ok(registry)
}

/// Says whether a configuration is good. `plugins`: they are asked about theirs.
pub(crate) fn check(file: &Path, choice: &Choice, plugins: bool, output: Output) -> u8 {
    let supervisor = Supervisor::new();
    let registry = match registry(&Logs::default(), &supervisor, choice) {
        Ok(registry) => registry,
        Err(error) => {
            eprintln!("transom: {error:#}");
            return BAD_INPUT;
        }
    };
    let mut notes = Vec::new();
    let outcome = check_file(file, &registry).and_then(|configuration| {
        if !plugins {
            return Ok(configuration);
        }
        match ask(&configuration, &registry, &supervisor) {
            Ok(asked) => {
                notes = asked.notes;
                match asked.problems.is_empty() {
                    true => Ok(configuration),
                    false => Err(Report::new(asked.problems, configuration.sources)),
                }
            }
            Err(error) => {
                notes.push(format!("plugins were not asked: {error}"));
                Ok(configuration)
            }
        }
    });
    let json = match (&outcome, output) {
        (Ok(_), Output::Text) => {
            println!("{}: good", file.display());
            tell(&notes);
            return GOOD;
        }
        (Err(report), Output::Text) => {
            show(report);
            tell(&notes);
            return BAD_INPUT;
        }
        (Ok(_), Output::Json) => {
            serde_json::json!({ "good": true, "problems": [], "notes": notes })
        }
        (Err(report), Output::Json) => {
            serde_json::json!({ "good": false, "problems": report.to_json()["problems"], "notes": notes })
        }
    };
    println!("{json:#}");
    if outcome.is_ok() { GOOD } else { BAD_INPUT }
}

/// What could not be found out.
fn tell(notes: &[String]) {
    for note in notes {
        eprintln!("note: {note}");
    }
}

/// Prints the JSON Schema.
pub(crate) fn schema() -> u8 {
    match registry(&Logs::default(), &Supervisor::new(), &Choice::default()) {
        Ok(registry) => {
            let schema = format!("{:#}\n", transom_config::schema(&registry));
            // A reader that has seen enough (`| head`) closes the pipe.
            let _ = stdout().write_all(schema.as_bytes());
            GOOD
        }
        Err(error) => {
            eprintln!("transom: {error:#}");
            BAD_INPUT
        }
    }
}

/// Shows what is wrong with a configuration, in colour on a terminal.
pub(crate) fn show(report: &Report) {
    eprint!("{}", report.render(stderr().is_terminal()));
}
