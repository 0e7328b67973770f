//! Extensions for the tests: what they parse is real, they cannot be prepared.

use std::marker::PhantomData;
use std::sync::Arc;

use transom_api::kind::{
    AccessLogs, CertificateProviders, Clients, ListenerFilters, NetworkFilters, Selectors, Servers,
    ServiceRegistries, StreamFilters, Transports,
};
use transom_api::{
    ExtensionKind, Factory, Node, ParseError, Parsed, Plugin, PluginLife, Prepare, PrepareContext,
    PrepareError, PreparePlugin, Registry, RouteConfig, Runtime, Schema,
};

/// `header_match` (any key to text; per route as well), `authorize` (calls a cluster), the selectors by their names, one
/// extension of each other kind, and `final`, a network filter that ends its chain.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry
        .register::<StreamFilters>("header_match", Arc::new(HeaderMatch))
        .unwrap();
    registry
        .register::<StreamFilters>("authorize", Arc::new(Authorize(PhantomData)))
        .unwrap();
    registry
        .register::<NetworkFilters>("gate", Arc::new(Authorize(PhantomData)))
        .unwrap();
    registry
        .register::<NetworkFilters>("final", Arc::new(Final))
        .unwrap();
    registry
        .register::<ListenerFilters>("inspect", Arc::new(Authorize(PhantomData)))
        .unwrap();
    registry
        .register::<AccessLogs>("ship", Arc::new(Authorize(PhantomData)))
        .unwrap();
    for name in ["least_request", "random", "round_robin"] {
        registry
            .register::<Selectors>(name, Arc::new(Choose))
            .unwrap();
    }
    for name in ["dns", "file"] {
        registry
            .register::<ServiceRegistries>(name, Arc::new(Choose))
            .unwrap();
    }
    for name in ["tcp", "unix"] {
        registry
            .register::<Transports>(name, Arc::new(Choose))
            .unwrap();
    }
    registry
        .register::<Clients>("http1", Arc::new(Choose))
        .unwrap();
    registry
        .register::<Servers>("http1", Arc::new(Choose))
        .unwrap();
    registry.register_runtime("process", Arc::new(Program));
    registry.register_runtime("library", Arc::new(Library));
    registry
        .register::<CertificateProviders>("mint", Arc::new(Authorize(PhantomData)))
        .unwrap();
    registry
}

/// A runtime: takes `command`; stream filters, network filters and access logs.
struct Program;

impl Runtime for Program {
    fn schema(&self) -> Schema {
        Schema::object().required(
            "command",
            Schema::list(Schema::string()).describe("The program and its arguments."),
        )
    }

    fn parse(&self, _name: &str, declaration: &Node) -> Result<Plugin, ParseError> {
        let mut fields = declaration.as_fields()?;
        for word in fields.required("command")?.as_list()? {
            word.as_str()?;
        }
        fields.finish()?;
        let plugin = Plugin::new(Arc::new(Program))
            .that_bounds_uses()
            .with::<StreamFilters>(|_| Arc::new(HeaderMatch))
            .with::<NetworkFilters>(|_| Arc::new(Authorize(PhantomData)))
            .with::<AccessLogs>(|_| Arc::new(Authorize(PhantomData)));
        Ok(plugin)
    }
}

impl PluginLife for Program {
    fn prepare(&self, _context: PrepareContext) -> PreparePlugin {
        Box::pin(std::future::ready(Err(PrepareError::new("not here"))))
    }
}

/// A runtime: takes `file`; stream filters.
struct Library;

impl Runtime for Library {
    fn schema(&self) -> Schema {
        Schema::object().required("file", Schema::string().describe("The library."))
    }

    fn parse(&self, _name: &str, declaration: &Node) -> Result<Plugin, ParseError> {
        let mut fields = declaration.as_fields()?;
        fields.required("file")?.as_str()?;
        fields.finish()?;
        Ok(Plugin::new(Arc::new(Program)).with::<StreamFilters>(|_| Arc::new(HeaderMatch)))
    }
}

/// Takes `choices`.
struct Choose;

impl<K: ExtensionKind> Factory<K> for Choose {
    fn schema(&self) -> Schema {
        Schema::object().optional(
            "choices",
            Schema::new(transom_api::Shape::Integer(2, 16)).or(2),
        )
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<K>>, ParseError> {
        let mut fields = config.as_fields()?;
        if let Some(choices) = fields.optional("choices") {
            choices.as_integer_in(2..=16)?;
        }
        fields.finish()?;
        Ok(Arc::new(Clusters(Vec::new())))
    }
}

struct HeaderMatch;

impl Factory<StreamFilters> for HeaderMatch {
    fn schema(&self) -> Schema {
        Schema::map_of(Schema::string()).describe("Fields that a request must have.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        for (_, value) in config.as_entries()? {
            value.as_str()?;
        }
        Ok(Arc::new(Clusters(Vec::new())))
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        for (_, value) in config.as_entries()? {
            value.as_str()?;
        }
        Ok(Arc::new(()))
    }
}

/// Of any kind: `cluster`, `status` and `timeout`.
struct Authorize<K>(PhantomData<fn() -> K>);

impl<K: ExtensionKind> Factory<K> for Authorize<K> {
    fn schema(&self) -> Schema {
        Schema::object()
            .required("cluster", Schema::string().describe("Whom to ask."))
            .optional(
                "status",
                Schema::new(transom_api::Shape::Integer(400, 599)).or(403),
            )
            .optional(
                "timeout",
                Schema::new(transom_api::Shape::Duration).or("1s"),
            )
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<K>>, ParseError> {
        let mut fields = config.as_fields()?;
        let cluster = fields.required("cluster")?.as_str()?.to_owned();
        if let Some(status) = fields.optional("status") {
            status.as_integer_in(400..=599)?;
        }
        if let Some(timeout) = fields.optional("timeout") {
            timeout.as_duration()?;
        }
        fields.finish()?;
        Ok(Arc::new(Clusters(vec![cluster])))
    }
}

/// A network filter that ends its chain.
struct Final;

impl Factory<NetworkFilters> for Final {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<NetworkFilters>>, ParseError> {
        config.as_fields()?.finish()?;
        Ok(Arc::new(Self))
    }
}

impl Parsed<NetworkFilters> for Final {
    fn is_terminal(&self) -> bool {
        true
    }

    fn prepare(&self, _context: PrepareContext) -> Prepare<NetworkFilters> {
        Box::pin(std::future::ready(Err(PrepareError::new(
            "only for tests of parsing",
        ))))
    }
}

struct Clusters(Vec<String>);

impl<K: ExtensionKind> Parsed<K> for Clusters {
    fn clusters(&self) -> Vec<String> {
        self.0.clone()
    }

    fn prepare(&self, _context: PrepareContext) -> Prepare<K> {
        Box::pin(std::future::ready(Err(PrepareError::new(
            "only for tests of parsing",
        ))))
    }
}
