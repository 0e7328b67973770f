//! All plugins of this process, by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::Client;
use super::config::Config;

static CLIENTS: Mutex<BTreeMap<String, Arc<Client>>> = Mutex::new(BTreeMap::new());

/// Why a plugin was not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A name is that of a file, in one folder.
    #[error("{0:?} is no plugin name: it must be the name of a file, without a folder")]
    Name(String),
    /// There is no such program.
    #[error("cannot find plugin {name} at {}: {source}; put the program there, or name its folder with Config::folder", path.display())]
    Missing {
        /// The plugin's name.
        name: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The plugin of this name: MOSN's `Register`. The name is that of its program, which lies beside the running one unless `config` says
/// otherwise.
///
/// The same name gives the same client, and then `config` is not looked at, as in MOSN. The plugin is started here; that it does not start is
/// no error, but one of the calls that follow.
pub async fn register(name: &str, config: Config) -> Result<Arc<Client>, RegisterError> {
    if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err(RegisterError::Name(name.to_owned()));
    }
    if let Some(client) = registered(name) {
        return Ok(client);
    }
    let missing = |path: PathBuf, source| RegisterError::Missing {
        name: name.to_owned(),
        path,
        source,
    };
    let path = config
        .path(name)
        .map_err(|source| missing(PathBuf::from(name), source))?;
    std::fs::metadata(&path).map_err(|source| missing(path.clone(), source))?;
    let client = Arc::clone(
        clients()
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Client::new(name.to_owned(), path, config))),
    );
    if let Err(error) = client.check().await {
        tracing::warn!(plugin = name, %error, "plugin does not start");
    }
    Ok(client)
}

/// The plugin of this name, if it was registered.
pub fn registered(name: &str) -> Option<Arc<Client>> {
    clients().get(name).cloned()
}

/// All that were registered, by name.
pub(super) fn all() -> Vec<Arc<Client>> {
    clients().values().cloned().collect()
}

fn clients() -> MutexGuard<'static, BTreeMap<String, Arc<Client>>> {
    // A panic under it left a map that is as good as before.
    CLIENTS.lock().unwrap_or_else(PoisonError::into_inner)
}
