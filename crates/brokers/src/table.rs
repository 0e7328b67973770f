//! Which brokers there are, for what publishes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use transom_api::node::known;
use transom_api::{
    Broker, Brokers, Chosen, Factory, Kind, Node, ParseError, Parsed, PrepareContext, PrepareError,
    Registry, Schema, Shape,
};

/// What stands for a broker where nothing is named and nothing is chosen.
const DEFAULT: &str = "memory";

/// The brokers by their names, and those that are in use.
#[derive(Default)]
pub struct Table {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    factories: BTreeMap<String, Arc<dyn Factory<Brokers>>>,
    chosen: Option<Chosen>,
    /// Uses of one name and configuration share one broker, and with it one connection.
    used: Vec<(String, Node, Weak<dyn Broker>)>,
}

/// A broker that is named, and has a good configuration.
#[derive(Clone)]
pub(crate) struct Named {
    name: String,
    config: Node,
    parsed: Arc<dyn Parsed<Brokers>>,
}

impl Table {
    /// Takes over the brokers of `registry`, and what is chosen there.
    pub fn fill(&self, registry: &Registry) {
        let mut state = self.lock();
        for name in registry.names(Kind::Broker) {
            if let Ok(factory) = registry.find::<Brokers>(&name) {
                state.factories.insert(name, factory);
            }
        }
        state.chosen = registry.chosen(Kind::Broker).cloned();
    }

    /// Reads the key `broker`: a name, or a map with `name` and `config`. `None` is what was chosen.
    pub(crate) fn parse(&self, node: Option<&Node>) -> Result<Named, ParseError> {
        let state = self.lock();
        let (name, config, place) = match node {
            None => match &state.chosen {
                Some(chosen) => (chosen.name.clone(), chosen.config.clone(), None),
                None => (DEFAULT.to_owned(), Node::null(), None),
            },
            Some(node) => match node.as_str() {
                Ok(name) => (name.to_owned(), Node::null(), Some(node)),
                Err(_) => {
                    let mut fields = node.as_fields()?;
                    let name = fields.required("name")?;
                    let config = fields.optional("config").cloned();
                    fields.finish()?;
                    let config = config.unwrap_or_else(Node::null);
                    (name.as_str()?.to_owned(), config, Some(name))
                }
            },
        };
        let Some(factory) = state.factories.get(&name) else {
            let names: Vec<&str> = state.factories.keys().map(String::as_str).collect();
            let error = ParseError::new(format!("unknown broker `{name}`"))
                .with_help(known(&name, "names", &names));
            return Err(error.or_at(place.and_then(|place| place.span)));
        };
        let parsed = factory.parse(&config);
        let parsed = parsed.map_err(|error| error.or_at(place.and_then(|place| place.span)))?;
        Ok(Named {
            name,
            config,
            parsed,
        })
    }

    /// The broker of that name and configuration: the one that others use already, or a new one.
    pub(crate) async fn prepare(
        &self,
        named: &Named,
        context: PrepareContext,
    ) -> Result<Arc<dyn Broker>, PrepareError> {
        if let Some(known) = self.used(named) {
            return Ok(known);
        }
        let broker = named.parsed.prepare(context).await?;
        let mut state = self.lock();
        state
            .used
            .retain(|(_, _, broker)| broker.strong_count() > 0);
        let weak = Arc::downgrade(&broker);
        state
            .used
            .push((named.name.clone(), named.config.clone(), weak));
        Ok(broker)
    }

    fn used(&self, named: &Named) -> Option<Arc<dyn Broker>> {
        let state = self.lock();
        let mut used = state.used.iter();
        used.find(|(name, config, _)| *name == named.name && *config == named.config)?
            .2
            .upgrade()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shape of the key `broker`.
pub(crate) fn schema() -> Schema {
    Schema::new(Shape::Any).describe(
        "The broker: its name, or a map with `name` and `config`. The one chosen with `--broker`, or `memory`, when it is left out.",
    )
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_set().entries(state.factories.keys()).finish()
    }
}
