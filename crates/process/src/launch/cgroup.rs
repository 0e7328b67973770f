//! A cgroup (version 2) for each process of a plugin, where the system has delegated a part of its tree to the proxy: bounds that the kernel
//! holds, for all that the plugin starts, and an end that nothing in it can escape.
//!
//! cgroups(7), and "Control Group v2" of the kernel's documentation; the files that are named here are described there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The part of the tree that the proxy may write, and which bounds it can set there.
#[derive(Clone, Debug, PartialEq)]
pub struct Delegated {
    path: PathBuf,
    controllers: Vec<&'static str>,
}

/// The controllers that are asked for.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The variable that names a cgroup which is the proxy's to divide.
const VARIABLE: &str = "TRANSOM_CGROUP";

/// Where the proxy goes itself: a group that has groups with bounds below it has no processes of its own.
const OWN: &str = "transom";

/// For so long the members of a group may take to end when it is killed.
const ENDING: Duration = Duration::from_secs(1);

/// Bounds of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Bytes of memory, caches included: `memory.max`.
    pub memory: Option<u64>,
    /// Processes and threads: `pids.max`.
    pub processes: Option<u32>,
    /// Cores: `cpu.max`.
    pub cpu: Option<f64>,
}

impl Bounds {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The group of one process. It is killed and removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// The bounds that the kernel holds.
    pub(crate) held: Vec<&'static str>,
    /// Those that it does not.
    pub(crate) missing: Vec<&'static str>,
}

impl Delegated {
    /// What was delegated to this process: the group that `TRANSOM_CGROUP` names, or its own where systemd says so (`Delegate=yes`). `None` where
    /// nothing was. A process whose own group it is goes into a group below it.
    pub fn find() -> Option<Self> {
        if let Some(path) = std::env::var_os(VARIABLE) {
            return Self::at(Path::new(&path));
        }
        let own = own_group()?;
        let mut flag = [0; 8];
        // systemd.resource-control(5): set to 1 on what is delegated.
        let marked = ["user.delegate", "trusted.delegate"].iter().any(|name| {
            rustix::fs::getxattr(&own, *name, &mut flag)
                .is_ok_and(|len| flag.get(..len) == Some(b"1"))
        });
        if !marked {
            return None;
        }
        let members = fs::read_to_string(own.join("cgroup.procs")).ok()?;
        if members
            .lines()
            .any(|pid| pid != std::process::id().to_string())
        {
            return None;
        }
        let below = own.join(OWN);
        create(&below).ok()?;
        fs::write(below.join("cgroup.procs"), "0").ok()?;
        Self::at(&own)
    }

    /// A group that is the proxy's to divide. `None` when it cannot be written.
    pub fn at(path: &Path) -> Option<Self> {
        // Whether groups can be made is tried, not asked.
        let trial = path.join(format!("trial-{}", std::process::id()));
        create(&trial).ok()?;
        let is_group = trial.join("cgroup.procs").exists();
        let _ = fs::remove_dir(&trial);
        if !is_group {
            return None;
        }
        let mut controllers = Vec::new();
        for name in CONTROLLERS {
            // One by one: what one lacks, the others may have.
            if fs::write(path.join("cgroup.subtree_control"), format!("+{name}")).is_ok() {
                controllers.push(name);
            }
        }
        Some(Self {
            path: path.to_owned(),
            controllers,
        })
    }

    /// Makes a group for a process.
    pub(crate) fn group(&self, name: &str, bounds: &Bounds) -> io::Result<Cgroup> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self
            .path
            .join(format!("plugin-{name}-{}-{number}", std::process::id()));
        create(&path)?;
        let mut group = Cgroup {
            path,
            held: Vec::new(),
            missing: Vec::new(),
        };
        // Of a tenth of a second, as long as a core does not wait for the next.
        const PERIOD: u64 = 100_000;
        let memory = bounds.memory.map(|bytes| bytes.to_string());
        let processes = bounds.processes.map(|count| count.to_string());
        let cpu = bounds
            .cpu
            .map(|cores| format!("{} {PERIOD}", ((cores * PERIOD as f64) as u64).max(1000)));
        for (controller, file, value) in [
            ("memory", "memory.max", memory),
            ("pids", "pids.max", processes),
            ("cpu", "cpu.max", cpu),
        ] {
            let Some(value) = value else { continue };
            let is_held = self.controllers.contains(&controller)
                && fs::write(group.path.join(file), value).is_ok();
            match is_held {
                true => group.held.push(controller),
                false => group.missing.push(controller),
            }
        }
        if group.held.contains(&"memory") {
            // All of it ends, not the one process that asked last. Older kernels do not have it.
            let _ = fs::write(group.path.join("memory.oom.group"), "1");
        }
        Ok(group)
    }
}

impl Cgroup {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel has ended something in it because of `memory`.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        events
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count != "0")
    }

    /// Kills all that is in it.
    pub(crate) fn kill(&self) {
        // Since Linux 5.14; before, the group of processes is all that is killed.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if fs::remove_dir(&self.path).is_ok() {
            return;
        }
        self.kill();
        let path = std::mem::take(&mut self.path);
        // What was killed is gone in a moment; nobody waits for it.
        let _ = std::thread::Builder::new()
            .name("cgroup".to_owned())
            .spawn(move || {
                let begun = std::time::Instant::now();
                while fs::remove_dir(&path).is_err() && begun.elapsed() < ENDING {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
    }
}

/// Goes into a group, in the launcher: all that it becomes and starts is in it from the beginning.
pub(super) fn enter(group: &Path) -> io::Result<()> {
    // `0` is whoever writes.
    fs::write(group.join("cgroup.procs"), "0")
}

fn create(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// The group that this process is in: the line `0::PATH` of proc(5), below where version 2 is mounted.
fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then_some(path)
    })?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(mount).join(own))
}
