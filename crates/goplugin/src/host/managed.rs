//! Many plugins, stopped together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::JoinSet;

use super::client::Client;
use super::config::ClientConfig;
use super::error::StartError;

/// A group of plugins: Go's `Managed` and `CleanupClients`, without the global.
#[doc(alias = "Managed")]
#[derive(Debug, Default)]
pub struct Clients {
    all: Mutex<Vec<Weak<Client>>>,
}

impl Clients {
    /// No plugin yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a plugin that belongs to the group. It may be killed by itself too.
    pub async fn start(&self, config: ClientConfig) -> Result<Arc<Client>, StartError> {
        let client = Arc::new(Client::start(config).await?);
        let mut all = self.lock();
        all.retain(|client| client.strong_count() > 0);
        all.push(Arc::downgrade(&client));
        Ok(client)
    }

    /// Stops all that run, at the same time: it takes as long as the slowest.
    #[doc(alias = "CleanupClients")]
    pub async fn kill_all(&self) {
        let all = std::mem::take(&mut *self.lock());
        let mut stopping = JoinSet::new();
        for client in all.iter().filter_map(Weak::upgrade) {
            stopping.spawn(async move { client.kill().await });
        }
        while stopping.join_next().await.is_some() {}
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Client>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
