//! The program, run on a configuration of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use transom_e2e::eventually;

/// A temporary folder that goes with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("transom-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in one step, so that nobody reads half of it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let new = self.0.join(format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder is cleaned up by the system.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running program.
pub(crate) struct Program {
    child: Child,
    /// Where its first listener is.
    pub(crate) address: SocketAddr,
    folder: Folder,
    /// Kept so that the program can go on writing its log.
    _log: std::thread::JoinHandle<String>,
}

impl Program {
    /// Starts the program and waits until it listens.
    pub(crate) fn start(configuration: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write("transom.yaml", configuration);
        let mut child = command(&["run", "-c"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = listening(&mut log);
        let _log = std::thread::spawn(move || {
            let mut rest = String::new();
            // What is not text is of no interest.
            let _ = log.read_to_string(&mut rest);
            rest
        });
        Self {
            child,
            address,
            folder,
            _log,
        }
    }

    /// Writes another configuration and has it read.
    pub(crate) fn reload(&self, configuration: &str) {
        self.folder.write("transom.yaml", configuration);
        self.signal("HUP");
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the program's end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        eventually("the program's end", || self.child.try_wait().unwrap())
    }

    /// How much memory the program holds, and the most that it ever held, in bytes.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.unwrap().parse::<u64>().unwrap() * 1024
        };
        (kib("VmRSS:"), kib("VmHWM:"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log until it names the address that the kernel chose.
fn listening(log: &mut BufReader<ChildStderr>) -> SocketAddr {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended:\n{all}");
        let word = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("address="));
        if let Some(address) = word {
            return address.parse().unwrap();
        }
        all += &line;
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transom"));
    command
        .args(arguments)
        .env_remove("TRANSOM_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end: exit code, standard output and standard error.
pub(crate) fn run(arguments: &[&str], file: Option<&Path>) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(arguments).args(file).output().unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// A listener on a port of the kernel's choice before one host.
pub(crate) fn configuration(upstream: SocketAddr, process: &str) -> String {
    format!(
        "{process}\nworkers: 2\nlisteners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          virtual_hosts:\n            - {{domains: [\"*\"], routes: [{{match: {{prefix: /}}, cluster: up}}]}}\nclusters:\n  - {{name: up, endpoints: [\"{upstream}\"]}}\n"
    )
}
