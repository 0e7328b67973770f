//! Noticing that the host is gone.

use std::io;

use rustix::process::getppid;

use crate::pidfd::Pidfd;

/// The process that started this one. Its end is seen on its pidfd, so that a host which is PID 1 is a host like any other.
pub(crate) struct Parent(Pidfd);

impl Parent {
    /// `None` when the parent cannot be seen from here: it lives in an outer PID namespace.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        let Some(parent) = getppid() else {
            return Ok(None);
        };
        Ok(Some(Self(Pidfd::open(parent)?)))
    }

    /// Resolves when the parent has ended.
    pub(crate) async fn ended(&self) {
        if self.0.ended().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
