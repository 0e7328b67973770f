//! The runtime `process`: what hosts a plugin that is declared with `runtime: process`.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use transom_api::kind::{AccessLogs, CertificateProviders, NetworkFilters, StreamFilters};
use transom_api::runtime::{AskPlugin, Question};
use transom_api::{
    DuplicateExtension, Node, ParseError, Plugin, PluginLife, PrepareContext, PrepareError,
    PreparePlugin, Registry, Runtime, Schema,
};

use crate::agents::{self, Agent, Agents};
use crate::launch::Launcher;
use crate::remote::{Cell, CertificateFactory, LogFactory, NetworkFactory, Running, StreamFactory};
use crate::servers::Askers;
use crate::supervise::{Place, Protocol, Spec, Supervisor, spec};

/// The name of the runtime in declarations.
pub const NAME: &str = "process";

/// The runtime. Its plugins are kept running by a [`Supervisor`], which the admin API asks as well.
#[derive(Debug)]
pub struct ProcessRuntime {
    supervisor: Arc<Supervisor>,
    launcher: Launcher,
    /// Those of the registry that the runtime was put into.
    askers: OnceLock<Askers>,
}

impl ProcessRuntime {
    /// A runtime whose plugins are started by `launcher`, where their declarations ask for a sandbox or for verified files.
    pub fn new(supervisor: Arc<Supervisor>, launcher: Launcher) -> Arc<Self> {
        Arc::new(Self {
            supervisor,
            launcher,
            askers: OnceLock::new(),
        })
    }

    /// Puts the runtime into a registry, as `process`, and the agents of MOSN's plugins under MOSN's names: the stream filters `demo_plugin`
    /// and `pluginfilter`, and the certificate provider `loader`. Plugins that are servers of `ext_proc`, `ext_authz` or `als` are used by the
    /// extensions of these names, which must be in the registry by then.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) -> Result<(), DuplicateExtension> {
        self.askers.get_or_init(|| Askers::of(registry));
        registry.register_runtime(NAME, Arc::<Self>::clone(self));
        let agents = Agents::Named {
            supervisor: Arc::clone(&self.supervisor),
            launcher: self.launcher.clone(),
        };
        agents::register(&agents, registry)
    }

    /// What keeps the plugins running.
    pub fn supervisor(&self) -> &Arc<Supervisor> {
        &self.supervisor
    }
}

impl Runtime for ProcessRuntime {
    fn schema(&self) -> Schema {
        spec::schema()
    }

    fn parse(&self, name: &str, declaration: &Node) -> Result<Plugin, ParseError> {
        let spec = Arc::new(Spec::parse(declaration)?);
        let protocol = spec.protocol;
        let address = spec.address.clone().unwrap_or_default();
        let cell = Cell::default();
        let called = Agents::Declared(Arc::default());
        let life = Life {
            name: name.to_owned(),
            spec,
            cell: Arc::clone(&cell),
            called: called.clone(),
            supervisor: Arc::clone(&self.supervisor),
            launcher: self.launcher.clone(),
        };
        let plugin = Plugin::new(Arc::new(life));
        Ok(match protocol {
            Protocol::Transom => {
                let of_network = Arc::clone(&cell);
                let of_certificates = Arc::clone(&cell);
                let of_logs = Arc::clone(&cell);
                plugin
                    .that_bounds_uses()
                    .with::<StreamFilters>(move |extension| {
                        Arc::new(StreamFactory {
                            cell: Arc::clone(&cell),
                            extension: extension.to_owned(),
                        })
                    })
                    .with::<NetworkFilters>(move |extension| {
                        Arc::new(NetworkFactory {
                            cell: Arc::clone(&of_network),
                            extension: extension.to_owned(),
                        })
                    })
                    .with::<AccessLogs>(move |extension| {
                        Arc::new(LogFactory {
                            cell: Arc::clone(&of_logs),
                            extension: extension.to_owned(),
                        })
                    })
                    .with::<CertificateProviders>(move |extension| {
                        Arc::new(CertificateFactory {
                            cell: Arc::clone(&of_certificates),
                            extension: extension.to_owned(),
                        })
                    })
            }
            Protocol::Call => {
                let (of_filters, of_loader) = (called.clone(), called);
                plugin
                    .with::<StreamFilters>(move |extension| {
                        agents::of_plugin(of_filters.clone(), extension)
                    })
                    .with::<CertificateProviders>(move |_| agents::loader(of_loader.clone()))
            }
            _ => match self.askers.get() {
                Some(askers) => askers.offer(plugin, protocol, &address),
                None => plugin,
            },
        })
    }
}

/// Starts a declared plugin.
struct Life {
    name: String,
    spec: Arc<Spec>,
    cell: Cell,
    called: Agents,
    supervisor: Arc<Supervisor>,
    launcher: Launcher,
}

impl PluginLife for Life {
    fn ask(&self, folder: Arc<Path>, questions: Vec<Question>) -> Option<AskPlugin> {
        if self.spec.protocol != Protocol::Transom {
            return None;
        }
        let (name, spec) = (self.name.clone(), Arc::clone(&self.spec));
        let supervisor = Arc::clone(&self.supervisor);
        let place = Place {
            folder,
            launcher: self.launcher.clone(),
        };
        Some(Box::pin(async move {
            let started = supervisor.plugin(&name, spec, place).await;
            let plugin = started.map_err(|error| PrepareError::new(error.to_string()))?;
            Running::describe(plugin).await?.ask(&questions).await
        }))
    }

    fn prepare(&self, context: PrepareContext) -> PreparePlugin {
        let Self {
            name,
            spec,
            cell,
            called,
            supervisor,
            launcher,
        } = self;
        let (name, spec, cell) = (name.clone(), Arc::clone(spec), Arc::clone(cell));
        let called = called.clone();
        let supervisor = Arc::clone(supervisor);
        let place = Place {
            folder: Arc::clone(&context.folder),
            launcher: launcher.clone(),
        };
        Box::pin(async move {
            let protocol = spec.protocol;
            let started = supervisor.plugin(&name, spec, place).await;
            let plugin = started.map_err(|error| PrepareError::new(error.to_string()))?;
            if protocol != Protocol::Transom {
                if let Agents::Declared(declared) = &called {
                    // A declaration is started once.
                    let _ = declared.set(Agent::new(Arc::clone(&plugin)));
                }
                let kept: Arc<dyn Any + Send + Sync> = plugin;
                return Ok(kept);
            }
            let running = Arc::new(Running::describe(plugin).await?);
            // A declaration is started once.
            let _ = cell.set(Arc::clone(&running));
            let kept: Arc<dyn Any + Send + Sync> = running;
            Ok(kept)
        })
    }
}
