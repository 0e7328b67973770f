//! A plugin's process, from its start to its last child.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::exit::Exit;
use super::launch;
use crate::pidfd::Pidfd;

/// A running plugin. Dropping a child kills it with its group and has it reaped; dropping a stranger does nothing.
pub(super) struct Process {
    pid: Pid,
    pidfd: Pidfd,
    kind: Kind,
    detached: AtomicBool,
    /// How it ended, once it is reaped. The lock is what keeps a signal from being sent after that.
    ended: Mutex<Option<Exit>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Our child, leader of its own group.
    Leader,
    /// Our child, in our own group.
    Member,
    /// Not our child.
    Stranger,
}

impl Process {
    /// Watches a child that was not waited for yet.
    pub(super) fn child(id: u32, own_group: bool) -> io::Result<Self> {
        let kind = if own_group {
            Kind::Leader
        } else {
            Kind::Member
        };
        Self::open(id, kind)
    }

    /// Watches a process that somebody else started.
    pub(super) fn stranger(id: u32) -> io::Result<Self> {
        Self::open(id, Kind::Stranger)
    }

    /// From now on dropping this leaves the process running.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    fn open(id: u32, kind: Kind) -> io::Result<Self> {
        let pid = launch::pid(id).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            pid,
            pidfd: Pidfd::open(pid)?,
            kind,
            detached: AtomicBool::new(false),
            ended: Mutex::new(None),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Resolves when it has ended; what it left in its group is killed then, and it is reaped.
    pub(super) async fn wait(&self) -> io::Result<Exit> {
        self.pidfd.ended().await?;
        self.reap(WaitIdOptions::NOHANG)
    }

    /// Kills it, and its group where it has one.
    pub(super) fn kill(&self) -> io::Result<()> {
        let ended = self.lock();
        if ended.is_some() {
            return Ok(());
        }
        self.kill_group();
        self.pidfd.kill()
    }

    /// While the leader is not reaped, its number cannot mean another group.
    fn kill_group(&self) {
        if self.kind == Kind::Leader {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    fn reap(&self, how: WaitIdOptions) -> io::Result<Exit> {
        let mut ended = self.lock();
        if let Some(exit) = &*ended {
            return Ok(exit.clone());
        }
        let mut exit = Exit::default();
        if self.kind != Kind::Stranger {
            self.kill_group();
            let id = WaitId::PidFd(self.pidfd.as_fd());
            let status = waitid(id, WaitIdOptions::EXITED | how)?;
            let status = status.ok_or(io::ErrorKind::WouldBlock)?;
            exit.code = status.exit_status();
            exit.signal = status.terminating_signal();
        }
        *ended = Some(exit.clone());
        Ok(exit)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Exit>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let left_alone = self.kind == Kind::Stranger || self.detached.load(Ordering::Relaxed);
        if left_alone || self.lock().is_some() {
            return;
        }
        let _ = self.kill();
        launch::reap(self.pid);
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
