//! Noticing that the host is gone.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, fstat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::getppid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::http2::Presence;
use crate::pidfd::Pidfd;

/// The process that started this one. Its end is seen on its pidfd, so that a host which is PID 1 is a host like any other.
pub(crate) struct Parent(Pidfd);

impl Parent {
    /// `None` when the parent cannot be seen from here: it lives in an outer PID namespace, or the kernel is older than 5.3.
    pub(crate) fn find() -> Option<Self> {
        Pidfd::open(getppid()?).ok().map(Self)
    }

    /// Resolves when the parent has ended.
    pub(crate) async fn ended(&self) {
        if self.0.ended().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Standard output and standard error as the host gave them: pipes, of which it has the other ends.
///
/// A host may have started the plugin through a shell, which then is the parent and stays; it may be in another PID namespace, where it
/// cannot be seen. When it dies its pipes have no reader and its connections are gone, wherever it was.
pub(crate) struct Pipes([AsyncFd<OwnedFd>; 2]);

/// How long nobody may be connected to a plugin whose pipes nobody reads.
const ABANDONED: Duration = Duration::from_secs(2);

impl Pipes {
    /// `None` unless both are pipes. To be called before the output is captured.
    pub(crate) fn find() -> Option<Self> {
        let pipe = |fd: std::os::fd::BorrowedFd<'_>| {
            let kind = FileType::from_raw_mode(fstat(fd).ok()?.st_mode);
            if kind != FileType::Fifo {
                return None;
            }
            let copy = fcntl_dupfd_cloexec(fd, 3).ok()?;
            // SAFETY: as in `Pidfd::open`: the `AsyncFd` owns the descriptor, which never changes.
            #[allow(unsafe_code)]
            unsafe {
                AsyncFd::register_with_interest(copy, Interest::ERROR).ok()
            }
        };
        let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
        Some(Self([pipe(stdout.as_fd())?, pipe(stderr.as_fd())?]))
    }

    /// Resolves when nobody reads either pipe and nobody has been connected for a while. A host that reads its plugin's output no more,
    /// but calls it, is there.
    pub(crate) async fn abandoned(&self, connections: &Presence) {
        for pipe in &self.0 {
            // A pipe without readers is in error (poll(2)), and stays so.
            if pipe.ready(Interest::ERROR).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        let mut alone = Duration::ZERO;
        let step = Duration::from_millis(250);
        while alone < ABANDONED {
            tokio::time::sleep(step).await;
            alone = match connections.is_alone() {
                true => alone + step,
                false => Duration::ZERO,
            };
        }
    }
}
