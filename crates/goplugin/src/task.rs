//! A task that ends with its owner.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A spawned task; dropping this aborts it.
#[derive(Debug)]
pub(crate) struct Task<T = ()>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub(crate) fn spawn(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Waits for the task's own end.
    pub(crate) async fn join(&mut self) {
        let _ = (&mut self.0).await;
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Resolves when `flag` is true, or can never become so because its owner has gone.
pub(crate) async fn raised(flag: &mut watch::Receiver<bool>) {
    // The guard of the value must not outlive this line: it cannot wait, nor change threads.
    let _ = flag.wait_for(|flag| *flag).await;
}

/// Locks a mutex. A panic under it left plain data, which is as good as before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
