//! What a child may do, as it is handed to the launcher.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The bounds of a child process. The default is what every sandboxed plugin gets; each key makes it tighter.
///
/// All of it is set in the child itself, after the fork and before the program begins, and holds for all that it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Forbids to gain rights by set-user-id programs (`PR_SET_NO_NEW_PRIVS`). On by default; Landlock and seccomp need it.
    pub no_new_privs: bool,
    /// The user that it runs as, a name of `/etc/passwd` or `uid:gid`; the proxy's own unless set. All capabilities go with the change.
    pub user: Option<String>,
    /// Resource limits of setrlimit(2).
    pub limits: Limits,
    /// Files, by Landlock. Absent: as the user's rights have it.
    pub files: Option<Files>,
    /// TCP and other sockets. Absent: as the system has it.
    pub network: Option<Network>,
    /// Whether it may send signals to, and connect to abstract Unix sockets of, processes outside its sandbox (Landlock's scopes).
    pub scoped: bool,
    /// Refuses system calls that no filter needs (seccomp): `ptrace`, `bpf`, `mount`, `io_uring_setup` and the like.
    pub system_calls: bool,
    /// Refuses to start other programs and processes; threads are allowed.
    pub subprocesses: bool,
    /// What to do where the kernel cannot grant all of it: start all the same with what it grants, or not at all.
    pub required: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            no_new_privs: true,
            user: None,
            limits: Limits::default(),
            files: None,
            network: None,
            scoped: false,
            system_calls: true,
            subprocesses: true,
            required: true,
        }
    }
}

impl Profile {
    /// Nothing but its own computing and its socket: no files but the system's and its own, no network, no other processes.
    pub fn strict() -> Self {
        Self {
            files: Some(Files::default()),
            network: Some(Network {
                none: true,
                ..Network::default()
            }),
            scoped: true,
            subprocesses: false,
            limits: Limits {
                core: Some(0),
                ..Limits::default()
            },
            ..Self::default()
        }
    }
}

/// Limits of setrlimit(2), soft and hard alike; absent ones stay as the proxy's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Open descriptors (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Processes and threads of its user (`RLIMIT_NPROC`); not looked at for root.
    pub processes: Option<u64>,
    /// Address space in bytes (`RLIMIT_AS`). Programs in Go and Java reserve far more than they use.
    pub address_space: Option<u64>,
    /// Largest file that it writes, in bytes (`RLIMIT_FSIZE`).
    pub file_size: Option<u64>,
    /// CPU time in seconds, after which it is killed (`RLIMIT_CPU`).
    pub cpu: Option<u64>,
    /// Core file in bytes (`RLIMIT_CORE`).
    pub core: Option<u64>,
}

/// What a child may do with files. Beside these it may always read and run what the system brings (`/usr`, `/lib`, `/bin`), read its own
/// program, and use the folder of its socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Files {
    /// Files and folders that it may read.
    pub read: Vec<PathBuf>,
    /// Files and folders that it may read and change.
    pub write: Vec<PathBuf>,
    /// Files and folders whose programs it may run.
    pub execute: Vec<PathBuf>,
}

/// What a child may do with sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// TCP ports that it may connect to.
    pub connect: Vec<u16>,
    /// TCP ports that it may listen on.
    pub bind: Vec<u16>,
    /// Unix sockets only: every other family is refused.
    pub none: bool,
}
