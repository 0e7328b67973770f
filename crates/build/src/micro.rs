//! go-micro's `plugin` package: the same four calls, with the same meaning and the same words when they fail.
//!
//! [`Plugins::load`] opens a library and says what it is; [`Plugins::init`] puts what it makes into a table of names, from where
//! configurations choose it; [`Plugins::build`] makes a library of a crate; [`Plugins::generate`] only writes the source of its glue. What
//! go-micro's do not do: the library is tried by a child process first, and it need not come out of the program's own build.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use transom_api::{Factory, Registry, StreamFilters};
use transom_library::{LoadError, Loaded, Prober};

use crate::error::BuildError;
use crate::glue::Glue;
use crate::{Request, build};

/// What a plugin is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, under which configurations find it.
    pub name: String,
    /// Its kind, such as `stream_filter`.
    pub kind: String,
    /// Where it comes from: the folder of a crate, or the file of a library.
    pub path: PathBuf,
    /// What makes it.
    pub new: NewFunc,
}

/// What makes an extension.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum NewFunc {
    /// Nothing does.
    #[default]
    Nothing,
    /// A function of the crate, by its path: what a build is given.
    Named(String),
    /// The factory of a stream filter: what a load gives.
    StreamFilter(Arc<dyn Factory<StreamFilters>>),
}

impl fmt::Debug for NewFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Named(path) => f.debug_tuple("Named").field(path).finish(),
            Self::StreamFilter(_) => f.write_str("StreamFilter"),
        }
    }
}

/// Why one of the calls fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The library has no description of a plugin.
    #[error("could not cast Plugin object")]
    NoPlugin(#[source] Option<LoadError>),
    /// The library cannot be loaded.
    #[error("{path} {error}", path = .path.display())]
    Load {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        error: LoadError,
    },
    /// What makes it is not of its kind, or its name is taken.
    #[error("Invalid plugin {0}")]
    Invalid(String),
    /// There is no such kind.
    #[error("Unknown plugin type: {kind} for {name}")]
    UnknownKind {
        /// Which.
        kind: String,
        /// Of which plugin.
        name: String,
    },
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The calls.
#[derive(Clone, Debug)]
pub struct Plugins {
    prober: Prober,
}

impl Plugins {
    /// Calls whose libraries are first loaded by `prober`.
    #[must_use]
    pub fn new(prober: Prober) -> Self {
        Self { prober }
    }

    /// Opens a library and says what it is: its first extension. One that was opened before is the same again.
    pub fn load(&self, path: &Path) -> Result<Config, PluginError> {
        let loaded = Loaded::open(path, &self.prober).map_err(|error| match error {
            LoadError::NoEntry | LoadError::Magic(_) => PluginError::NoPlugin(Some(error)),
            LoadError::Probe(said)
                if said.contains("does not export the symbol")
                    || said.contains("with the magic") =>
            {
                PluginError::NoPlugin(Some(LoadError::Probe(said)))
            }
            error => PluginError::Load {
                path: path.to_path_buf(),
                error,
            },
        })?;
        let extensions = loaded.extensions();
        let (kind, name) = extensions.first().ok_or(PluginError::NoPlugin(None))?;
        let new = match kind.as_str() {
            "stream_filter" => NewFunc::StreamFilter(loaded.stream_filter_factory(name)),
            _ => NewFunc::Nothing,
        };
        let name = match name.as_str() {
            "" => loaded.name(),
            name => name,
        };
        Ok(Config {
            name: name.to_owned(),
            kind: kind.clone(),
            path: path.to_path_buf(),
            new,
        })
    }

    /// Puts what a plugin makes into the table of its kind, under its name.
    pub fn init(&self, registry: &mut Registry, config: &Config) -> Result<(), PluginError> {
        let invalid = || PluginError::Invalid(config.name.clone());
        match (config.kind.as_str(), &config.new) {
            ("stream_filter", NewFunc::StreamFilter(factory)) => registry
                .register::<StreamFilters>(&config.name, Arc::clone(factory))
                .map_err(|_| invalid()),
            ("stream_filter", _) => Err(invalid()),
            (kind, _) => Err(PluginError::UnknownKind {
                kind: kind.to_owned(),
                name: config.name.clone(),
            }),
        }
    }

    /// Makes a library of a crate and puts it at `path`.
    pub fn build(&self, path: &Path, config: &Config) -> Result<(), PluginError> {
        let NewFunc::Named(new) = &config.new else {
            return Err(PluginError::Invalid(config.name.clone()));
        };
        let request = Request {
            name: config.name.clone(),
            kind: config.kind.clone(),
            path: config.path.clone(),
            new: new.clone(),
            // A path may be without its ending, as go-micro's may.
            output: Some(path.with_extension("so")),
            key: None,
        };
        build(&request, &self.prober)?;
        Ok(())
    }

    /// Writes the source that a build would be made of.
    pub fn generate(&self, path: &Path, config: &Config) -> Result<(), PluginError> {
        let NewFunc::Named(new) = &config.new else {
            return Err(PluginError::Invalid(config.name.clone()));
        };
        let glue = Glue::read(&config.name, &config.kind, new)?;
        std::fs::write(path, glue.source((&config.name, "0.0.0")))
            .map_err(|why| BuildError::file(path)(why))?;
        Ok(())
    }
}
