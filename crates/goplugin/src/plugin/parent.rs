//! Noticing that the host is gone.

use rustix::process::getppid;

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
