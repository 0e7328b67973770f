//! What a process and its children use, read from `/proc`.

use std::time::Duration;

/// Memory and time of a process and of all that it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub memory: u64,
    /// CPU time that was used so far.
    pub cpu: Duration,
    /// Processes.
    pub processes: u32,
    /// Open descriptors of the first process; 0 where they cannot be seen.
    pub descriptors: u32,
}

/// More processes below one plugin are not looked at.
const MAX_PROCESSES: usize = 256;

/// Reads it for a process; `None` when that has ended.
pub(super) fn of(pid: u32) -> Option<Usage> {
    let mut usage = Usage::default();
    let mut left = vec![pid];
    let mut seen = 0;
    while let Some(process) = left.pop() {
        seen += 1;
        if seen > MAX_PROCESSES {
            break;
        }
        let Some((memory, cpu)) = one(process) else {
            if process == pid {
                return None;
            }
            continue;
        };
        usage.memory = usage.memory.saturating_add(memory);
        usage.cpu += cpu;
        usage.processes += 1;
        left.extend(children(process));
    }
    usage.descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .map(|entries| u32::try_from(entries.count()).unwrap_or(u32::MAX))
        .unwrap_or(0);
    Some(usage)
}

/// proc_pid_stat(5): fields 14 and 15 are ticks of CPU time, 16 and 17 those of children that were waited for, 24 resident pages.
fn one(pid: u32) -> Option<(u64, Duration)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field, a name in parentheses, may hold anything.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| -> Option<u64> { fields.get(field - 3)?.parse().ok() };
    let ticks = (14..=17).filter_map(number).sum::<u64>();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let cpu = Duration::from_secs_f64(ticks as f64 / per_second as f64);
    let pages = number(24)?;
    Some((pages.saturating_mul(rustix::param::page_size() as u64), cpu))
}

/// What each of its threads started. Kernels without this file show no children.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_with_its_children() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let own = of(std::process::id()).unwrap();
        let below = of(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own.processes >= 2, "{own:?}");
        assert!(own.memory > below.memory, "{own:?} {below:?}");
        assert!(own.descriptors > 2);
        assert_eq!(of(u32::MAX), None);
    }
}
