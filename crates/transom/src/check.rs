//! `transom check` and `transom schema`.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::sync::Arc;

use transom_api::Registry;
use transom_config::{Report, check_file};
use transom_logs::Logs;
use transom_process::launch::cgroup::Delegated;
use transom_process::supervise::Supervisor;

use crate::command::Output;
use crate::{BAD_INPUT, FAULT, GOOD, plugins};

/// All built-in extensions, and the runtimes of plugins.
pub(crate) fn registry(logs: &Logs, supervisor: &Arc<Supervisor>) -> anyhow::Result<Registry> {
    registry_in(logs, supervisor, None)
}

/// The same for a program that runs plugins, each in a cgroup of its own where some were delegated.
pub(crate) fn registry_in(
    logs: &Logs,
    supervisor: &Arc<Supervisor>,
    cgroup: Option<Delegated>,
) -> anyhow::Result<Registry> {
    let mut registry = Registry::new();
    transom_filters::register(&mut registry)?;
    transom_services::register(&mut registry)?;
    logs.register(&mut registry)?;
    transom_proxy::register_certificate_providers(&mut registry)?;
    plugins::register_runtimes(&mut registry, supervisor, cgroup)?;
    Ok(registry)
}

/// Says whether a configuration is good.
pub(crate) fn check(file: &Path, output: Output) -> u8 {
    let registry = match registry(&Logs::default(), &Supervisor::new()) {
        Ok(registry) => registry,
        Err(error) => {
            eprintln!("transom: {error}");
            return FAULT;
        }
    };
    let outcome = check_file(file, &registry);
    let json = match (&outcome, output) {
        (Ok(_), Output::Text) => {
            println!("{}: good", file.display());
            return GOOD;
        }
        (Err(report), Output::Text) => {
            show(report);
            return BAD_INPUT;
        }
        (Ok(_), Output::Json) => serde_json::json!({ "good": true, "problems": [] }),
        (Err(report), Output::Json) => {
            serde_json::json!({ "good": false, "problems": report.to_json()["problems"] })
        }
    };
    println!("{json:#}");
    if outcome.is_ok() { GOOD } else { BAD_INPUT }
}

/// Prints the JSON Schema.
pub(crate) fn schema() -> u8 {
    match registry(&Logs::default(), &Supervisor::new()) {
        Ok(registry) => {
            let schema = format!("{:#}\n", transom_config::schema(&registry));
            // A reader that has seen enough (`| head`) closes the pipe.
            let _ = stdout().write_all(schema.as_bytes());
            GOOD
        }
        Err(error) => {
            eprintln!("transom: {error}");
            FAULT
        }
    }
}

/// Shows what is wrong with a configuration, in colour on a terminal.
pub(crate) fn show(report: &Report) {
    eprint!("{}", report.render(stderr().is_terminal()));
}
