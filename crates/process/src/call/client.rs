//! One plugin, kept running.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tonic::Code;
use transom_goplugin::host::{self, ClientConfig, StartError};
use transom_goplugin::{Channel, MAX_MESSAGE};

use super::backoff::Backoff;
use super::config::Config;
use super::proto::plugin_client::PluginClient;
use super::{Request, Response, handshake};
use crate::launch::LaunchError;

/// A plugin by name: MOSN's `Client`. [`register`](super::register) makes it.
///
/// Its process is started by the first call, is watched by the runtime of that call, and is started again when it, or that runtime, has ended. A call does not
/// wait for a plugin that cannot be started: after a failed start the next attempt is made 100 ms later at the earliest, then 200 ms, up to
/// 10 s, and calls in between fail at once.
pub struct Client {
    name: String,
    path: PathBuf,
    config: Config,
    /// Whether it may run.
    enabled: AtomicBool,
    /// Locked for moments only.
    running: std::sync::Mutex<Option<Arc<Running>>>,
    /// Locked by who starts it, for as long as that takes.
    starts: Mutex<Starts>,
}

/// How starting it went.
#[derive(Default)]
struct Starts {
    backoff: Backoff,
    /// Why it did not start the last time.
    last: Option<Arc<StartError>>,
}

struct Running {
    process: host::Client,
    since: Instant,
}

/// Whether a plugin may run, and whether it does. As text it is the line of MOSN's admin API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The plugin's name.
    pub name: String,
    /// It was not disabled.
    pub enable: bool,
    /// Its process runs.
    pub on: bool,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, enable, on } = self;
        write!(f, "name:{name},enable:{enable},on:{on}")
    }
}

/// Why a call was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It was disabled; MOSN's text.
    #[error("plugin {0} disable")]
    Disabled(String),
    /// It could not be started.
    #[error("cannot start plugin {name}: {source}")]
    Start {
        /// The plugin.
        name: String,
        /// Why.
        source: Arc<StartError>,
    },
    /// Its sandbox could not be ordered.
    #[error("cannot start plugin {name}: {source}")]
    Sandbox {
        /// The plugin.
        name: String,
        /// Why.
        source: Arc<LaunchError>,
    },
    /// It could not be started a moment ago, and is not tried yet.
    #[error("plugin {name} is tried again in {}: {source}", milliseconds(wait))]
    BackingOff {
        /// The plugin.
        name: String,
        /// How long until it is.
        wait: Duration,
        /// Why it did not start.
        source: Arc<StartError>,
    },
    /// It died a moment ago, not for the first time, and is not started yet.
    #[error(
        "plugin {name} dies again and again; it is started in {}",
        milliseconds(wait)
    )]
    Crashing {
        /// The plugin.
        name: String,
        /// How long until it is.
        wait: Duration,
    },
    /// It answered with an error, or did not answer in time.
    #[error("plugin {name}: {status}")]
    Failed {
        /// The plugin.
        name: String,
        /// What it answered; `DEADLINE_EXCEEDED` when its time was over.
        status: tonic::Status,
    },
}

fn milliseconds(wait: &Duration) -> String {
    format!("{} ms", wait.as_millis())
}

impl CallError {
    /// Whether the plugin was reached, but its time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Failed { status, .. } if status.code() == Code::DeadlineExceeded)
    }
}

impl Client {
    pub(super) fn new(name: String, path: PathBuf, config: Config) -> Self {
        Self {
            name,
            path,
            config,
            enabled: AtomicBool::new(true),
            running: std::sync::Mutex::default(),
            starts: Mutex::default(),
        }
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks the plugin, which is started first if it does not run. A `timeout` above zero bounds the answer, not the start.
    ///
    /// On the wire: `/proto.Plugin/Call`.
    pub async fn call(&self, request: Request, timeout: Duration) -> Result<Response, CallError> {
        let channel = self.ready().await?;
        let mut request = tonic::Request::new(request);
        if !timeout.is_zero() {
            request.set_timeout(timeout);
        }
        let answer = PluginClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .call(request)
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| CallError::Failed {
                name: self.name.clone(),
                status,
            })
    }

    /// Starts the plugin if it does not run: MOSN's `Check`.
    pub async fn check(&self) -> Result<(), CallError> {
        self.ready().await.map(drop)
    }

    /// Whether it may run, and whether it does. A plugin that starts at the moment does not run yet.
    pub fn status(&self) -> Status {
        Status {
            name: self.name.clone(),
            enable: self.enabled.load(Ordering::Relaxed),
            on: self.pid().is_some(),
        }
    }

    /// The number of its process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        self.living().map(|running| running.process.pid())
    }

    /// Stops the plugin; it is not started again until it is enabled.
    pub async fn disable(&self) {
        self.enabled.store(false, Ordering::SeqCst);
        self.stop().await;
    }

    /// Lets the plugin run again, and starts it.
    pub async fn enable(&self) -> Result<(), CallError> {
        self.starts.lock().await.backoff.reset();
        self.enabled.store(true, Ordering::SeqCst);
        self.check().await
    }

    /// A connection to the running plugin. Of many who want a dead one at once, one starts it and the others wait for that.
    async fn ready(&self) -> Result<Channel, CallError> {
        self.allowed()?;
        if let Some(running) = self.living() {
            return Ok(running.process.channel());
        }
        let mut starts = self.starts.lock().await;
        self.allowed()?;
        if let Some(running) = self.living() {
            return Ok(running.process.channel());
        }
        let now = Instant::now();
        if let Some(dead) = self.running().take() {
            tracing::warn!(plugin = self.name, "plugin has ended; it is started again");
            starts.backoff.ended(now - dead.since, now);
            starts.last = None;
        }
        if let Some(wait) = starts.backoff.remaining(now) {
            let name = self.name.clone();
            return Err(match &starts.last {
                Some(source) => CallError::BackingOff {
                    name,
                    wait,
                    source: Arc::clone(source),
                },
                None => CallError::Crashing { name, wait },
            });
        }
        let command = match self.config.command(&self.path) {
            Ok(command) => command,
            Err(source) => {
                return Err(CallError::Sandbox {
                    name: self.name.clone(),
                    source: Arc::new(source),
                });
            }
        };
        let config = ClientConfig::new(handshake()).command(command);
        match host::Client::start(config).await {
            Ok(process) => {
                let channel = process.channel();
                starts.last = None;
                *self.running() = Some(Arc::new(Running {
                    process,
                    since: Instant::now(),
                }));
                // Who disabled it meanwhile found nothing to stop.
                if let Err(disabled) = self.allowed() {
                    self.stop().await;
                    return Err(disabled);
                }
                Ok(channel)
            }
            Err(error) => {
                let source = Arc::new(error);
                starts.backoff.failed(Instant::now());
                starts.last = Some(Arc::clone(&source));
                Err(CallError::Start {
                    name: self.name.clone(),
                    source,
                })
            }
        }
    }

    fn allowed(&self) -> Result<(), CallError> {
        match self.enabled.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(CallError::Disabled(self.name.clone())),
        }
    }

    async fn stop(&self) {
        let running = self.running().take();
        if let Some(running) = running {
            running.process.kill().await;
        }
    }

    fn living(&self) -> Option<Arc<Running>> {
        self.running().clone().filter(|running| running.lives())
    }

    fn running(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        // A panic under it left a value that is as good as before.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn lives(&self) -> bool {
        !self.process.exited()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
