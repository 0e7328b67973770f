//! Agents of MOSN's plugins: what MOSN's examples have compiled into the host, under the same names and with the same configurations.
//!
//! | name | kind | its program | asks with | answer |
//! |---|---|---|---|---|
//! | `demo_plugin` | stream filter | `checker`, given `-c CONFIG_PATH` | the request's headers | status -1: 403; else the request goes on |
//! | `pluginfilter` | stream filter | `pluginfilter` | headers, body and trailers | headers that are set, or taken away where the value is empty; a body; trailers |
//! | `loader` | certificate provider | `loader` | nothing | a certificate, its key and an authority as JSON |
//!
//! A program lies in the folder of the proxy's own program, as with MOSN, unless `command` says otherwise. The same agents are there for plugins that
//! are declared with `protocol: call`. What MOSN's agents do that nobody can want is done right, and MOSN's way only with `mosn_defects`.

mod filter;
mod loader;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tonic::{Code, Status};
use transom_api::kind::{CertificateProviders, StreamFilters};
use transom_api::{
    DuplicateExtension, Factory, Fields, Node, ParseError, PrepareContext, PrepareError, Registry,
    Schema, Shape,
};

use crate::launch::Launcher;
use crate::supervise::spec::Bounds;
use crate::supervise::{
    Instance, Outcome, Permit, Place, Plugin, Protocol, Spec, State, Supervisor,
};

use filter::{FilterFactory, Manner};
use loader::LoaderFactory;

/// Where agents have their plugins from.
#[derive(Clone)]
pub(crate) enum Agents {
    /// A plugin that is declared; there once it runs.
    Declared(Arc<OnceLock<Agent>>),
    /// Programs that the agents' own configurations name, or that have the agent's name.
    Named {
        supervisor: Arc<Supervisor>,
        launcher: Launcher,
    },
}

/// A plugin that is called.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    plugin: Arc<Plugin>,
}

/// Which program an agent calls, and how: the keys that all agents have.
#[derive(Clone, Debug)]
struct Called {
    /// The program and its arguments; `None` for the one that has the agent's name.
    command: Option<Vec<String>>,
    timeout: Duration,
}

/// Registers the agents under MOSN's names.
pub(crate) fn register(agents: &Agents, registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register::<StreamFilters>("demo_plugin", filter(agents.clone(), Manner::Demo))?;
    registry.register::<StreamFilters>("pluginfilter", filter(agents.clone(), Manner::Whole))?;
    registry.register::<CertificateProviders>("loader", loader(agents.clone()))
}

/// The agent of a plugin that is declared with `protocol: call`: `plugin: NAME/demo_plugin`, else `pluginfilter`.
pub(crate) fn of_plugin(agents: Agents, name: &str) -> Arc<dyn Factory<StreamFilters>> {
    let manner = match name {
        "demo_plugin" => Manner::Demo,
        _ => Manner::Whole,
    };
    filter(agents, manner)
}

/// The certificate provider.
pub(crate) fn loader(agents: Agents) -> Arc<dyn Factory<CertificateProviders>> {
    Arc::new(LoaderFactory { agents })
}

fn filter(agents: Agents, manner: Manner) -> Arc<dyn Factory<StreamFilters>> {
    Arc::new(FilterFactory { agents, manner })
}

impl Called {
    fn read(
        fields: &mut Fields<'_>,
        agents: &Agents,
        timeout: Duration,
    ) -> Result<Self, ParseError> {
        let command = match (fields.optional("command"), agents) {
            (None, _) => None,
            (Some(node), Agents::Declared(_)) => {
                return Err(node
                    .error("`command` has no meaning for a plugin that is declared")
                    .with_help("it is started as its declaration says"));
            }
            (Some(node), Agents::Named { .. }) => {
                let words = node.as_list()?.iter();
                let words: Result<Vec<String>, ParseError> =
                    words.map(|word| Ok(word.as_str()?.to_owned())).collect();
                Some(words?).filter(|words| !words.is_empty())
            }
        };
        let timeout = match fields.optional("timeout") {
            Some(node) => node.as_duration()?,
            None => timeout,
        };
        Ok(Self { command, timeout })
    }

    fn schema() -> Schema {
        Schema::object()
            .optional(
                "command",
                Schema::list(Schema::string())
                    .describe("The program and its arguments. When it is left out, the program that has the agent's name in MOSN, in the folder of the proxy's own."),
            )
            .optional(
                "timeout",
                Schema::new(Shape::Duration).describe("How long an answer is awaited."),
            )
    }

    /// The plugin, which is started if it does not run yet.
    async fn agent(
        self,
        agents: Agents,
        program: &str,
        arguments: Vec<String>,
        context: &PrepareContext,
    ) -> Result<Agent, PrepareError> {
        match agents {
            Agents::Declared(agent) => agent
                .get()
                .cloned()
                .ok_or_else(|| PrepareError::new("its plugin was not started")),
            Agents::Named {
                supervisor,
                launcher,
            } => {
                let command: Vec<String> = match self.command {
                    Some(command) => command.into_iter().chain(arguments).collect(),
                    None => {
                        let path = beside(program)?;
                        let path = path.to_str().map(str::to_owned).ok_or_else(|| {
                            PrepareError::new("the path of the proxy's program is no UTF-8")
                        })?;
                        [path].into_iter().chain(arguments).collect()
                    }
                };
                let spec = Spec {
                    protocol: Protocol::Call,
                    ..Spec::new(command)
                };
                let place = Place {
                    folder: Arc::clone(&context.folder),
                    launcher,
                };
                let started = supervisor.plugin(program, Arc::new(spec), place).await;
                let plugin = started.map_err(|error| PrepareError::new(error.to_string()))?;
                Ok(Agent::new(plugin))
            }
        }
    }
}

/// A program in the folder of this one: where MOSN looks.
fn beside(program: &str) -> Result<PathBuf, PrepareError> {
    let own = std::env::current_exe().map_err(|error| {
        PrepareError::new(format!(
            "the folder of the proxy's program is not known: {error}"
        ))
        .with_help("name the program in `command`")
    })?;
    Ok(own.with_file_name(program))
}

impl Agent {
    pub(crate) fn new(plugin: Arc<Plugin>) -> Self {
        Self { plugin }
    }

    fn name(&self) -> &str {
        self.plugin.name()
    }

    fn bounds(&self) -> &Bounds {
        &self.plugin.spec().bounds
    }

    /// Whether another process than this one takes calls.
    fn has_other(&self, not: u64) -> bool {
        let instances = self.plugin.instances();
        instances
            .iter()
            .any(|it| it.is_open() && it.number() != not)
    }

    /// A place at a process that is not this one, as soon as there is one.
    async fn next(&self, not: u64) -> Result<Permit, Status> {
        let name = self.name();
        let mut changes = self.plugin.changes();
        let found = async {
            loop {
                changes.mark_unchanged();
                let instances = self.plugin.instances();
                let open = instances.iter().filter(|it| it.is_open());
                let others = open.filter(|it| it.number() != not);
                let found = others.min_by_key(|it| (it.state() != State::Ready, it.in_flight()));
                if let Some(instance) = found {
                    return instance
                        .admit()
                        .map_err(|refused| Status::unavailable(refused.to_string()));
                }
                if changes.changed().await.is_err() {
                    return Err(Status::unavailable("it is gone"));
                }
            }
        };
        let limit = self.bounds().queue_time;
        tokio::time::timeout(limit, found)
            .await
            .unwrap_or_else(|_| {
                let limit = limit.as_millis();
                Err(Status::unavailable(format!(
                    "no process of the plugin `{name}` ran for {limit} ms"
                )))
            })
    }

    /// The process with the least to do.
    fn choose(&self) -> Option<Arc<Instance>> {
        self.plugin.choose()
    }
}

/// How a call went, for the plugin's counters.
fn outcome<T>(answer: &Result<T, tonic::Status>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(status) if status.code() == Code::DeadlineExceeded => Outcome::Timeout,
        Err(_) => Outcome::Error,
    }
}

/// A configuration with no keys but those of the agents.
fn fields(node: &Node) -> Result<Fields<'_>, ParseError> {
    node.as_fields()
}
