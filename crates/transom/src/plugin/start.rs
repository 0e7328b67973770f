//! Starting a plugin whose protocol may not be known.

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use transom_goplugin::host::{Client, ClientConfig, StartError};
use transom_goplugin::{HandshakeConfig, Level, LogConfig};
use transom_process::probe::{COOKIE, Probe};

use super::{Program, Protocol};

/// A plugin that runs.
pub(super) enum Started {
    Transom(Probe),
    Call(Client),
}

/// Starts the program; how long that took. Its log lines go to standard error, but for those that say of themselves that they are of no
/// interest to operators.
pub(super) async fn start(
    protocol: Option<Protocol>,
    program: &Program,
) -> Result<(Started, Duration), StartError> {
    let begin = Instant::now();
    let transom = match protocol {
        Some(Protocol::Call) => None,
        _ => Some(client(COOKIE, program).await),
    };
    let started = match (transom, protocol) {
        (Some(Ok(client)), _) => Started::Transom(Probe::of(client)),
        // A program that wants another cookie says so and ends: it may want MOSN's.
        (Some(Err(StartError::Exited { .. })), None) => {
            Started::Call(client(("MOSN_PLUGIN", "ON"), program).await?)
        }
        (Some(Err(error)), _) => return Err(error),
        (None, _) => Started::Call(client(("MOSN_PLUGIN", "ON"), program).await?),
    };
    Ok((started, begin.elapsed()))
}

async fn client(cookie: (&str, &str), program: &Program) -> Result<Client, StartError> {
    let mut words = program.command.iter();
    let mut command = Command::new(words.next().map_or(OsStr::new(""), OsString::as_os_str));
    command.args(words);
    // What a program says that does not start stands in the error.
    let early = Arc::new(Mutex::new(Some(Vec::new())));
    let lines = Arc::clone(&early);
    let log = LogConfig::new().sink(move |line| {
        if line.tagged && line.level < Level::Info {
            return;
        }
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *lines {
            Some(lines) => lines.push(line.message.clone()),
            None => eprintln!("plugin: {}", line.message),
        }
    });
    let handshake = HandshakeConfig::new(1, cookie.0, cookie.1);
    let config = ClientConfig::new(handshake)
        .command(command)
        .log(log)
        .start_timeout(Duration::from_secs(20));
    let client = Client::start(config).await?;
    let lines = early.lock().unwrap_or_else(PoisonError::into_inner).take();
    for line in lines.into_iter().flatten() {
        eprintln!("plugin: {line}");
    }
    Ok(client)
}

/// What to do about a plugin that does not start.
pub(super) fn help(error: &StartError) -> &'static str {
    match error {
        StartError::NotFound { .. } => {
            "give the program's path, such as ./plugin, behind the options"
        }
        StartError::NotExecutable { .. } => "chmod +x makes a file executable",
        StartError::Exited { .. } => {
            "the plugin must print one handshake line and go on running; what it wrote on standard error stands above"
        }
        StartError::Timeout { .. } | StartError::NoLine { .. } | StartError::Handshake { .. } => {
            "the first line on standard output must be 1|1|unix|PATH|grpc or 1|1|tcp|ADDRESS|grpc; the SDKs print it, and nothing may be printed before"
        }
        _ => "",
    }
}
