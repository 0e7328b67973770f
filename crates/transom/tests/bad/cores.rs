//! Two cores, so that what plugins do with theirs is not taken for what the proxy does.
//!
//! The worker, the traffic without plugins and the upstream are on the first: nothing but the worker's own work is in their way. All
//! else is on the last: the control side, plugins, and traffic through them. A machine with one core has both on it.

use std::fs;
use std::sync::OnceLock;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

#[derive(Clone, Copy)]
pub(crate) enum Core {
    /// Of what is measured.
    First,
    /// Of all else.
    Last,
}

/// Puts this thread there, and what it starts from now on.
pub(crate) fn stay(core: Core) {
    put(None, core);
}

/// Puts the workers of a process onto the first core.
pub(crate) fn place_workers(process: u32) {
    for thread in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let folder = thread.unwrap().path();
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        let number = folder.file_name().and_then(|it| it.to_str()?.parse().ok());
        if name.starts_with("worker-") {
            put(number.and_then(Pid::from_raw), Core::First);
        }
    }
}

fn put(thread: Option<Pid>, core: Core) {
    // Those that the test's process has from outside; asked before any thread is put anywhere.
    static ALLOWED: OnceLock<CpuSet> = OnceLock::new();
    let allowed = ALLOWED.get_or_init(|| sched_getaffinity(None).unwrap());
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let chosen = match core {
        Core::First => cores.next(),
        Core::Last => cores.next_back(),
    };
    let mut only = CpuSet::new();
    only.set(chosen.unwrap());
    sched_setaffinity(thread, &only).unwrap();
}
