//! The admin interface as a whole: opened, served, closed.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use transom_api::control::Control;
use transom_config::ListenAddress;

use crate::AdminError;
use crate::connection;
use crate::routes::Routes;
use crate::socket::{Listening, SocketFile};

/// The admin interface, open and not yet served. Clients can connect already; they wait.
#[derive(Debug)]
pub struct Admin {
    listening: Listening,
    address: ListenAddress,
    mosn_compatible: bool,
}

/// Connections served at once; more wait in the system's queue. Enough for probes and people, too few to hurt.
const CONNECTIONS: usize = 64;
/// How long requests may take to end after the shutdown was asked for.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

impl Admin {
    /// Opens the interface. Needs no runtime, so that a taken address is known before anything else starts.
    ///
    /// A Unix socket gets the mode 0600, and the one that a dead process left at its path is removed.
    ///
    /// # Errors
    ///
    /// When the address is not local, is in use, or the system refuses it.
    pub fn bind(admin: &transom_config::Admin) -> Result<Self, AdminError> {
        let listening = Listening::open(&admin.address)?;
        let address = listening
            .local_address()
            .map_err(|cause| AdminError::from_system(&admin.address, cause))?;
        Ok(Self {
            listening,
            address,
            mosn_compatible: admin.mosn_compatible,
        })
    }

    /// Where it listens. For a configured port 0 this is the port that the system chose.
    #[must_use]
    pub fn local_address(&self) -> &ListenAddress {
        &self.address
    }

    /// Answers requests until `shutdown` is done; then takes no more connections, lets running requests end (five
    /// seconds at most) and removes the file of a Unix socket.
    ///
    /// Runs on the tokio runtime that polls it, which may have a single thread and needs time and I/O enabled. A reload
    /// that was ordered runs to its end there even when its client is gone.
    ///
    /// # Errors
    ///
    /// When the runtime cannot take the socket.
    pub async fn serve(
        self,
        control: Arc<dyn Control>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AdminError> {
        let failed = |cause| AdminError::from_system(&self.address, cause);
        let routes = Routes::new(control, self.address.clone(), self.mosn_compatible);
        match self.listening {
            Listening::Tcp(listener) => {
                let listener = TcpListener::from_std(listener).map_err(failed)?;
                accept(listener, None, routes, shutdown).await;
            }
            Listening::Unix(listener, file) => {
                let listener = UnixListener::from_std(listener).map_err(failed)?;
                accept(listener, Some(file), routes, shutdown).await;
            }
        }
        Ok(())
    }
}

async fn accept<L: Listener>(
    mut listener: L,
    file: Option<SocketFile>,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let (stop, stopped) = watch::channel(false);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await.0)
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => note_fault(ended),
            (slot, io) = next => {
                let (routes, mut stopped) = (routes.clone(), stopped.clone());
                connections.spawn(async move {
                    let stopped = async move {
                        // An error says that the sender is gone, which means the same.
                        let _ = stopped.wait_for(|stopped| *stopped).await;
                    };
                    connection::serve(io, routes, stopped).await;
                    drop(slot);
                });
            }
        }
    }
    // The file goes before the socket: who finds the file finds somebody behind it.
    drop(file);
    drop(listener);
    stop.send_replace(true);
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            note_fault(ended);
        }
    };
    // What is left after that ends when the set is dropped.
    let _ = tokio::time::timeout(LAST_REQUESTS, ended).await;
}

fn note_fault(ended: Result<(), tokio::task::JoinError>) {
    if let Err(fault) = ended {
        tracing::error!(%fault, "a connection of the admin interface failed; please report this");
    }
}
