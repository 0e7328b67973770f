//! `transom-test-sdk COMMAND [ARGUMENT…]`: runs every case against a conformance plugin; exit code 1 if one fails. `--only WORD` before the
//! command runs those whose names contain the word.

use std::process::{Command, ExitCode};

use transom_test_sdk::run;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let mut only = String::new();
    if arguments.peek().is_some_and(|first| first == "--only") {
        arguments.next();
        only = arguments
            .next()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
    }
    let Some(program) = arguments.next() else {
        eprintln!("usage: transom-test-sdk [--only WORD] COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let arguments: Vec<_> = arguments.collect();
    let command = || {
        let mut command = Command::new(&program);
        command.args(&arguments);
        command
    };
    let outcomes = run(command, &only).await;
    let mut failed = 0;
    for outcome in &outcomes {
        match &outcome.fault {
            None => println!(
                "ok       {} ({} ms)",
                outcome.name,
                outcome.time.as_millis()
            ),
            Some(fault) => {
                failed += 1;
                println!("FAILED   {}: {fault}", outcome.name);
            }
        }
    }
    println!(
        "conformance: {} passed, {failed} failed",
        outcomes.len() - failed
    );
    ExitCode::from(u8::from(failed > 0 || outcomes.is_empty()))
}
