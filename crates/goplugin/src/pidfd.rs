//! A process by descriptor: a pid may come to mean another process, a pidfd may not.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that can be waited for.
#[derive(Debug)]
pub(crate) struct Pidfd(AsyncFd<OwnedFd>);

impl Pidfd {
    /// Opens a process that exists now.
    pub(crate) fn open(pid: Pid) -> io::Result<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // SAFETY: the descriptor must stay open and the same until it is deregistered. The `AsyncFd` owns it, gives out shared
        // references only, and an `OwnedFd` never changes its number.
        #[allow(unsafe_code)]
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
        Ok(Self(pidfd))
    }

    /// Resolves when the process has ended. It may not be reaped yet.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        // It stays readable from then on.
        self.0.readable().await.map(drop)
    }

    /// Kills the process, if it has not ended.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(self.0.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
