//! The first load of a library, in a child process: constructors that crash, hang or end the process harm nobody else.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::error::LoadError;
use crate::load::Loaded;

/// How long a library may take to be loaded.
const LONGEST: Duration = Duration::from_secs(10);

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

/// Waits for the child, reading what it writes; one that takes too long is killed.
fn wait(child: &mut Child) -> Result<(ExitStatus, String), LoadError> {
    let mut pipe = child.stderr.take();
    // What the child starts may keep the pipe open; then the reader ends with this process.
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(pipe) = &mut pipe {
            let _ = pipe.take(4096).read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let until = Instant::now() + LONGEST;
    loop {
        let ended = child.try_wait();
        match ended
            .map_err(|error| LoadError::Probe(format!("its child process is lost: {error}")))?
        {
            Some(status) => {
                // All that it wrote is in the pipe by now.
                let patience = Instant::now() + Duration::from_millis(200);
                while !reader.is_finished() && Instant::now() < patience {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let said = match reader.is_finished() {
                    true => reader.join().unwrap_or_default(),
                    false => String::new(),
                };
                return Ok((status, said));
            }
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = LONGEST.as_secs();
                return Err(LoadError::Probe(format!("is not loaded after {seconds} s")));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
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
