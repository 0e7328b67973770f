//! The moment between two processes.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getppid, set_parent_process_death_signal, waitid,
};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::config::PluginStdin;
use super::process::Process;
use crate::environment as env;

/// What the protocol sets, and what a plugin must not inherit from a host that is a plugin.
pub(super) const PROTOCOL_VARIABLES: [&str; 7] = [
    env::MIN_PORT,
    env::MAX_PORT,
    env::PROTOCOL_VERSIONS,
    env::MULTIPLEX_GRPC,
    env::CLIENT_CERT,
    env::UNIX_SOCKET_GROUP,
    env::UNIX_SOCKET_DIR,
];

/// How a child is started.
pub(super) struct Options {
    /// In a process group of its own, which is killed as a whole.
    pub(super) own_group: bool,
    /// Killed by the system when the host is gone.
    pub(super) die_with_host: bool,
    /// A descriptor that the child keeps: what it was checked by.
    pub(super) inherit: Option<RawFd>,
}

/// A child that was started a moment ago. Dropped without [`watch`](Self::watch), it is killed and reaped.
pub(super) struct Started {
    child: Option<Child>,
    own_group: bool,
}

/// What is to be run, in full: nothing is looked up or added later.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: BTreeMap<OsString, OsString>,
    pub(super) folder: Option<PathBuf>,
    pub(super) stdin: PluginStdin,
}

impl Program {
    /// A command with the child's streams: output and error as pipes, which the host reads for the child's whole life.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
            .stdin(match self.stdin {
                PluginStdin::Null => Stdio::null(),
                PluginStdin::Inherited => Stdio::inherit(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Whether the host's standard input is a terminal.
pub(super) fn stdin_is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdin())
}

/// Starts `command` on the thread that starts all children.
///
/// `PR_SET_PDEATHSIG` fires when the *thread* that forked ends. A runtime's threads come and go, so one thread of its own, which lives
/// as long as the process, does nothing but this.
pub(super) async fn spawn(program: &Program, options: Options) -> io::Result<Started> {
    let mut command = program.command();
    if options.own_group {
        command.process_group(0);
    }
    let own_group = options.own_group;
    prepare(&mut command, &options, Image::new(program)?);
    let (answer, started) = oneshot::channel();
    spawner()?
        .send(Box::new(move || {
            let child = command.spawn().map(|child| Started {
                child: Some(child),
                own_group,
            });
            // If the start was given up meanwhile, the child is dropped here, and killed.
            let _ = answer.send(child);
        }))
        .map_err(|_| io::Error::other("the thread that starts plugins has ended"))?;
    started
        .await
        .map_err(|_| io::Error::other("the thread that starts plugins has ended"))?
}

/// Does something that may take a while on that same thread. If there is none, it is not done.
pub(super) fn aside(job: impl FnOnce() + Send + 'static) {
    if let Ok(spawner) = spawner() {
        let _ = spawner.send(Box::new(job));
    }
}

/// Reaps a child that was just killed. It ends within microseconds, unless the kernel itself is stuck in it; then it stays a zombie until
/// this process ends.
pub(super) fn reap(child: Pid) {
    aside(move || {
        for _ in 0..1000 {
            // Until it is reaped, and nobody else does that, its number is its own.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            match waitid(WaitId::Pid(child), options) {
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    });
}

type Job = Box<dyn FnOnce() + Send>;

fn spawner() -> io::Result<&'static std::sync::mpsc::Sender<Job>> {
    static SPAWNER: OnceLock<std::sync::mpsc::Sender<Job>> = OnceLock::new();
    if let Some(sender) = SPAWNER.get() {
        return Ok(sender);
    }
    let (sender, jobs) = std::sync::mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name("goplugin-spawn".into())
        .spawn(move || jobs.into_iter().for_each(|job| job()))?;
    // Of two threads that were made at once, the loser's channel closes here and its thread ends without a child.
    Ok(SPAWNER.get_or_init(|| sender))
}

/// What happens in the child before it becomes the plugin. `std` has reset its signal mask and SIGPIPE by then.
fn prepare(command: &mut Command, options: &Options, image: Image) {
    let Options {
        die_with_host,
        inherit,
        ..
    } = *options;
    let host = rustix::process::getpid();
    let setup = move || {
        child_setup(host, die_with_host, inherit)?;
        image.become_it()
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. `setup` makes plain system calls (prctl, getppid,
    // close_range, fcntl, execve), allocates nothing, takes no lock, and touches only its captured values, made before the fork.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(setup);
    }
}

/// A program as execve(2) takes it.
///
/// `std` would use execvp(3), which hands a file that the kernel refuses (of another machine, say) to the shell to interpret.
struct Image {
    path: CString,
    /// Null-terminated lists of pointers into the two below.
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    _texts: Vec<CString>,
}

// SAFETY: the pointers lead to the heap buffers of `_texts`, which are owned, never changed, and move with this value.
#[allow(unsafe_code)]
unsafe impl Send for Image {}
// SAFETY: as above; nothing is changed through a shared reference.
#[allow(unsafe_code)]
unsafe impl Sync for Image {}

impl Image {
    fn new(program: &Program) -> io::Result<Self> {
        let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
        let mut texts = Vec::new();
        for argument in &program.arguments {
            texts.push(text(argument)?);
        }
        for (name, value) in &program.environment {
            let mut variable = name.clone();
            variable.push("=");
            variable.push(value);
            texts.push(text(&variable)?);
        }
        let pointers = |texts: &[CString]| {
            texts
                .iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        let (arguments, environment) = texts.split_at(program.arguments.len());
        Ok(Self {
            path: text(program.path.as_os_str())?,
            arguments: pointers(arguments),
            environment: pointers(environment),
            _texts: texts,
        })
    }

    /// Returns only if the kernel refuses.
    fn become_it(&self) -> io::Result<()> {
        // SAFETY: `path` is a C string, the two lists are null-terminated, and all they point to lives in `self`.
        #[allow(unsafe_code)]
        unsafe {
            libc::execve(
                self.path.as_ptr(),
                self.arguments.as_ptr(),
                self.environment.as_ptr(),
            );
        }
        Err(io::Error::last_os_error())
    }
}

fn child_setup(host: Pid, die_with_host: bool, inherit: Option<RawFd>) -> io::Result<()> {
    if die_with_host {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The host may have died before the line above.
        if getppid() != Some(host) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    // Whatever the host has open without FD_CLOEXEC (listening sockets that it inherited, say) stays the host's. Marking instead of
    // closing leaves `std`'s own pipe for the result of exec.
    // SAFETY: close_range(2) with CLOEXEC changes flags of this process's descriptors, no memory. An old kernel says ENOSYS.
    #[allow(unsafe_code)]
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
        return Err(io::Error::last_os_error());
    }
    if let Some(fd) = inherit {
        // SAFETY: `fd` is open in this child, a copy of the host's table; F_SETFD changes its flags only.
        #[allow(unsafe_code)]
        let cleared = unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
        if cleared != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

impl Started {
    /// The host's ends of standard output and standard error.
    pub(super) fn pipes(&mut self) -> io::Result<(pipe::Receiver, pipe::Receiver)> {
        let child = self.child.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::NotFound)?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::NotFound)?;
        Ok((
            pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?,
            pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?,
        ))
    }

    /// Hands the child over to who will wait for it.
    pub(super) fn watch(mut self, own_group: bool) -> io::Result<Process> {
        let pid = self
            .child
            .as_ref()
            .map(Child::id)
            .ok_or(io::ErrorKind::NotFound)?;
        let process = Process::child(pid, own_group)?;
        // From here on `process` reaps it; `std` would neither kill nor wait on drop.
        self.child = None;
        Ok(process)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let (true, Some(group)) = (self.own_group, pid(child.id())) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process id as the system's calls take it.
pub(super) fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(id.try_into().ok()?)
}

/// The number of a descriptor that a child keeps.
pub(super) fn number(fd: &OwnedFd) -> RawFd {
    fd.as_raw_fd()
}
