//! What the configuration says of a plugin's processes.

mod parse;
mod schema;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use transom_api::Level;

use crate::launch::Profile;

pub use schema::schema;

/// How a plugin is started, kept and bounded. Two equal ones are one plugin: a reload that leaves it as it is leaves its processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The program and its arguments. A program without a slash is looked up in `PATH`; a relative path begins at the configuration's
    /// folder.
    pub command: Vec<String>,
    /// The variables that it gets beside the protocol's; no others of the proxy's.
    pub env: Vec<Variable>,
    /// Its working folder; the proxy's unless set.
    pub cwd: Option<PathBuf>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where a server without a handshake listens: `127.0.0.1:9000`, or `unix:` and a path.
    pub address: Option<String>,
    /// How many processes of it run.
    pub instances: NonZeroU32,
    /// When it is started again.
    pub restart: Restart,
    /// How long it may take until it is ready.
    pub start_timeout: Duration,
    /// How long it may take to end when it is told to, before it is killed.
    pub stop_timeout: Duration,
    /// How long calls that are under way may take when it is stopped, before it is told to end.
    pub drain_timeout: Duration,
    /// How it is seen to be well.
    pub health: Health,
    /// What is sent to it at once at the most, and for how long an answer is awaited.
    pub bounds: Bounds,
    /// How much longer than [`Bounds::time`] the first answers of a process may take.
    pub warm_up: Duration,
    /// Most memory (resident, its children's included) in bytes. Above it, it is started again.
    pub memory: Option<u64>,
    /// What the kernel bounds of it, where a cgroup was delegated.
    pub cgroup: CgroupBounds,
    /// What it may do; `None` for all that the proxy's user may.
    pub sandbox: Option<Profile>,
    /// What its files must be.
    pub trust: Trust,
    /// At which level its output is logged.
    pub log: Logging,
    /// Threads that it may use: `MOSN_PROCS` of the protocol `call`.
    pub max_procs: u32,
    /// Folder for its own logs: `MOSN_LOGBASE` of the protocol `call`.
    pub log_base: Option<PathBuf>,
    /// How a new version takes over from the old one.
    pub swap: Swap,
    /// Where the declaration came from, if not from the configuration itself.
    pub origin: Option<String>,
}

/// A variable of the child's environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Variable {
    /// The proxy's own value, where it has one.
    Inherit(String),
    /// This name and value.
    Set(String, String),
}

/// What a plugin speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// `transom.plugin.v1`.
    Transom,
    /// MOSN's `proto.Plugin/Call`.
    Call,
    /// Envoy's external processor, at an address.
    ExtProc,
    /// Envoy's external authorization, at an address.
    ExtAuthz,
    /// Envoy's access log service, at an address.
    Als,
    /// Nothing: any program, kept running.
    None,
}

impl Protocol {
    /// All, by their names in the configuration.
    pub const ALL: [(&'static str, Self); 6] = [
        ("transom", Self::Transom),
        ("call", Self::Call),
        ("ext_proc", Self::ExtProc),
        ("ext_authz", Self::ExtAuthz),
        ("als", Self::Als),
        ("none", Self::None),
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, protocol)| *protocol == self)
            .map_or("none", |(name, _)| name)
    }

    /// Whether it prints go-plugin's handshake line.
    pub fn has_handshake(self) -> bool {
        matches!(self, Self::Transom | Self::Call)
    }

    /// Whether it is a server at an address that is configured.
    pub fn has_address(self) -> bool {
        matches!(self, Self::ExtProc | Self::ExtAuthz | Self::Als)
    }
}

/// When a plugin that ended is started again: at once the first time, then after a pause that doubles.
#[derive(Clone, Debug, PartialEq)]
pub struct Restart {
    /// The first pause.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// By which part a pause is made shorter or longer at random, so that many do not start together: 0 to 1.
    pub jitter: f64,
    /// So many ends within [`window`](Self::window), and it is given up until somebody enables it; 0 for never.
    pub limit: u32,
    /// The time that [`limit`](Self::limit) counts in.
    pub window: Duration,
}

/// How a plugin is seen to be well.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// How often it is asked; zero for never.
    pub interval: Duration,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// After so many failures in a row it is started again.
    pub unhealthy: u32,
    /// After so many answers in a row it is well again.
    pub healthy: u32,
    /// After so many calls in a row without an answer in time it is started again; 0 for never.
    pub timeouts: u32,
}

/// What may be on its way to one plugin, all its instances together.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Calls at once.
    pub concurrency: u32,
    /// Calls that may wait for one of those to end; above it a call fails at once.
    pub queue: u32,
    /// How long one may wait so.
    pub queue_time: Duration,
    /// How long the plugin may take for an answer.
    pub time: Duration,
    /// Bytes of one message, in either direction.
    pub message_size: usize,
}

/// What the files of a plugin must be. They are checked each time before it is started, on what is then run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trust {
    /// SHA-256 of the program.
    pub sha256: Option<[u8; 32]>,
    /// Key of minisign: each file below, or the program if none is named, must have a good signature beside it (`FILE.minisig`).
    pub minisign: Option<String>,
    /// Further files, such as scripts, each with its SHA-256 where one is given.
    pub files: Vec<TrustedFile>,
}

impl Trust {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A file of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustedFile {
    /// Where it is; a relative path begins at the configuration's folder.
    pub path: PathBuf,
    /// What its content hashes to.
    pub sha256: Option<[u8; 32]>,
}

/// At which level a plugin's output is logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Logging {
    /// Lines on standard output; `None` drops them. The handshake line is none.
    pub stdout: Option<Level>,
    /// Lines on standard error that do not say their level; `None` drops them.
    pub stderr: Option<Level>,
    /// Lines of a second that are logged; the rest is counted.
    pub lines_per_second: u32,
}

/// Bounds of a plugin's process, with all that it starts, that a cgroup holds; beside [`Spec::memory`], which it holds as well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupBounds {
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Cores.
    pub cpu: Option<f64>,
    /// Whether the plugin is not started where the kernel cannot hold them.
    pub required: bool,
}

/// How a new version takes over.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    /// Whether a declaration that a reload has changed takes over like this too, and not at once.
    pub on_reload: bool,
    /// The part of calls that the new version gets at first, in percent.
    pub share: u8,
    /// How long it is watched before it gets all.
    pub watch: Duration,
    /// Fewest calls that say something.
    pub calls: u32,
    /// By how many percent points its errors may exceed the old version's.
    pub errors: f64,
    /// By what factor its median latency may exceed the old version's.
    pub latency: f64,
}

/// A JVM that has just begun takes a second and more for its first answer on a busy machine.
const WARM_UP: Duration = Duration::from_secs(4);

impl Spec {
    /// A plugin of this command, and the defaults.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            protocol: Protocol::Transom,
            address: None,
            instances: NonZeroU32::MIN,
            restart: Restart::default(),
            start_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(10),
            health: Health::default(),
            bounds: Bounds::default(),
            warm_up: WARM_UP,
            memory: None,
            cgroup: CgroupBounds::default(),
            sandbox: None,
            trust: Trust::default(),
            log: Logging::default(),
            max_procs: 1,
            log_base: None,
            swap: Swap::default(),
            origin: None,
        }
    }

    /// The name of the program.
    pub fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            jitter: 0.2,
            limit: 10,
            window: Duration::from_secs(60),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            unhealthy: 3,
            healthy: 1,
            timeouts: 20,
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            concurrency: 1024,
            queue: 1024,
            queue_time: Duration::from_millis(100),
            time: Duration::from_secs(1),
            // As gRPC's own default.
            message_size: 4 << 20,
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            stdout: Some(Level::Info),
            stderr: Some(Level::Info),
            lines_per_second: 1000,
        }
    }
}

impl Default for Swap {
    fn default() -> Self {
        Self {
            on_reload: false,
            share: 10,
            watch: Duration::from_secs(30),
            calls: 100,
            errors: 1.0,
            latency: 2.0,
        }
    }
}
