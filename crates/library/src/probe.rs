//! The first load of a library, in a child process: constructors that crash, hang or end the process harm nobody else.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::error::LoadError;
use crate::load::Loaded;

/// How long a library may take to be loaded.
const LONGEST: Duration = Duration::from_secs(10);

/// Of what it writes meanwhile so much is told.
const MOST_SAID: usize = 4096;

/// The program that loads a library to see whether it can be loaded: the host itself, called so that its `main` comes to
/// [`probe_main`].
#[derive(Clone, Debug)]
pub struct Prober {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Prober {
    /// A prober that is `program`, called with `arguments` and the library's path behind them.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }

    /// Loads what is at `path` in a child process.
    pub(crate) fn probe(&self, path: &str) -> Result<(), LoadError> {
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = child.map_err(|error| {
            LoadError::Probe(format!(
                "the child process that tries it cannot be started: {error}"
            ))
        })?;
        let (status, said) = wait(&mut child)?;
        if status.success() {
            return Ok(());
        }
        Err(LoadError::Probe(match status.signal() {
            Some(signal) => format!(
                "ends the process that loads it by the signal {signal}{}",
                quoted(&said)
            ),
            None if said.trim().is_empty() => {
                format!(
                    "ends the process that loads it with the status {}",
                    status.code().unwrap_or(-1)
                )
            }
            None => said.trim().to_owned(),
        }))
    }
}

fn quoted(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!(", after it wrote: {said}"),
    }
}

/// How often it is looked whether the child has ended, where no descriptor tells it.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits for the child, reading what it writes; one that takes too long is killed, with all that it has started.
fn wait(child: &mut Child) -> Result<(ExitStatus, String), LoadError> {
    let until = Instant::now() + LONGEST;
    let lost = |error: io::Error| LoadError::Probe(format!("its child process is lost: {error}"));
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = group.ok_or_else(|| lost(io::ErrorKind::NotFound.into()))?;
    // None under valgrind, which knows no such call.
    let ended = pidfd_open(group, PidfdFlags::empty()).ok();
    let longest = ended.as_ref().map_or(GLANCE, |_| LONGEST);
    let mut pipe = child.stderr.take();
    let mut said = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // It may have ended just now, and its group with it.
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
            let seconds = LONGEST.as_secs();
            return Err(LoadError::Probe(format!("is not loaded after {seconds} s")));
        }
        let speaks = {
            let pipe = pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN));
            let ended = ended.as_ref();
            let ended = ended.map(|ended| PollFd::new(ended, PollFlags::IN));
            let has_pipe = pipe.is_some();
            let mut waits: Vec<PollFd<'_>> = pipe.into_iter().chain(ended).collect();
            let left = Timespec::try_from(left.min(longest)).unwrap_or_default();
            poll(&mut waits, Some(&left)).map_err(|error| lost(error.into()))?;
            has_pipe && waits.first().is_some_and(|wait| !wait.revents().is_empty())
        };
        // What it wrote before its end is in the pipe by then, and is read first.
        if speaks {
            let mut piece = [0; 4096];
            let read = pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(&mut piece));
            match read {
                Ok(count) if count > 0 => {
                    let room = MOST_SAID.saturating_sub(said.len()).min(count);
                    said.extend_from_slice(piece.get(..room).unwrap_or_default());
                }
                _ => pipe = None,
            }
        } else if let Some(status) = child.try_wait().map_err(lost)? {
            return Ok((status, String::from_utf8_lossy(&said).into_owned()));
        }
    }
}

/// The child's side: loads what is at `path`, says on standard error why that fails, and ends.
pub fn probe_main(path: &str) -> ExitCode {
    match Loaded::map(path, path) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
