//! Built-in network filters.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::factory::{
    BuildError, Factory, FilterError, Parsed, Prepare, PrepareContext, PrepareError,
};
use crate::kind::NetworkFilters;
use crate::network::{
    Connection, NetworkFilter, NetworkFilterConfig, NetworkFilterWorker, NetworkWants,
};
use crate::node::{Node, ParseError};
use crate::registry::{DuplicateExtension, Registry};
use crate::schema::Schema;
use crate::worker::{Worker, WorkerPart};

/// A network filter whose configuration is all that it needs: [`Builtin`](super::Builtin) for the bytes of connections.
///
/// ```
/// use transom_api::builtin::NetworkBuiltin;
/// use transom_api::testing::FakeWorker;
/// use transom_api::{Connection, Direction, NetworkFilter, NetworkVerdict, Node, ParseError, Registry, Schema};
///
/// /// Closes connections that begin with anything but the configured word.
/// #[derive(Clone)]
/// struct Knock {
///     word: String,
/// }
///
/// impl NetworkBuiltin for Knock {
///     type Filter = Knock;
///
///     fn schema() -> Schema {
///         Schema::object().required("word", Schema::string().describe("What a client says first."))
///     }
///
///     fn parse(node: &Node) -> Result<Self, ParseError> {
///         let mut fields = node.as_fields()?;
///         let word = fields.required("word")?.as_str()?.to_owned();
///         fields.finish()?;
///         Ok(Self { word })
///     }
///
///     fn filter(&self) -> Self {
///         self.clone()
///     }
/// }
///
/// impl NetworkFilter for Knock {
///     fn on_data(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
///         let came = connection.bytes(Direction::Request).to_vec();
///         if came.starts_with(self.word.as_bytes()) {
///             // From now on everything does.
///             self.word.clear();
///             return NetworkVerdict::Continue;
///         }
///         if end || !self.word.as_bytes().starts_with(&came) {
///             connection.close();
///         }
///         NetworkVerdict::StopIteration
///     }
/// }
///
/// let mut registry = Registry::new();
/// registry.register_network_builtin::<Knock>("knock").unwrap();
///
/// let mut worker = FakeWorker::new();
/// let knock = worker.network_builtin::<Knock>(&Node::map([("word", "open".into())])).unwrap();
/// let mut connection = knock.connection();
/// connection.begin();
/// assert_eq!(connection.data("op", false), Some(NetworkVerdict::StopIteration));
/// assert_eq!(connection.data("en sesame", false), Some(NetworkVerdict::Continue));
/// ```
pub trait NetworkBuiltin: Clone + Send + Sync + Sized + 'static {
    /// The filter of one connection.
    type Filter: NetworkFilter + 'static;

    /// The shape of the configuration.
    fn schema() -> Schema;

    /// Reads the configuration.
    fn parse(node: &Node) -> Result<Self, ParseError>;

    /// Names of the clusters that callouts may go to, and that
    /// [`Connection::choose_cluster`](crate::network::Connection::choose_cluster) may name.
    fn clusters(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether this filter ends its chain, see [`Parsed::is_terminal`].
    fn is_terminal(&self) -> bool {
        false
    }

    /// Prepares it: defines metrics, reads files.
    fn prepare(&mut self, _context: &PrepareContext) -> Result<(), PrepareError> {
        Ok(())
    }

    /// Which bytes the filter needs to see.
    fn wants(&self) -> NetworkWants {
        NetworkWants::EVERYTHING
    }

    /// Makes the filter of a connection.
    fn filter(&self) -> Self::Filter;

    /// The copy that one worker uses: what its connections share is made here.
    fn for_worker(&self, _worker: &mut Worker<'_>) -> Result<Self, BuildError> {
        Ok(self.clone())
    }

    /// Builds the part that one worker has. The default makes a filter for each connection by
    /// [`NetworkBuiltin::filter`]; a filter that keeps something on its worker (a count, a generator) answers with a part
    /// of its own.
    fn on_worker(
        &self,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn NetworkFilterWorker>, BuildError> {
        Ok(Rc::new(BuiltinWorker(self.for_worker(worker)?)))
    }
}

impl Registry {
    /// Registers a built-in network filter.
    pub fn register_network_builtin<B: NetworkBuiltin>(
        &mut self,
        name: &str,
    ) -> Result<(), DuplicateExtension> {
        self.register::<NetworkFilters>(name, Arc::new(NetworkBuiltinFactory::<B>(PhantomData)))
    }
}

/// The factory of a built-in network filter, which a stand-in for the registry may use too.
pub(crate) struct NetworkBuiltinFactory<B>(pub(crate) PhantomData<fn() -> B>);

impl<B: NetworkBuiltin> Factory<NetworkFilters> for NetworkBuiltinFactory<B> {
    fn schema(&self) -> Schema {
        B::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<NetworkFilters>>, ParseError> {
        Ok(Arc::new(BuiltinParsed(B::parse(config)?)))
    }
}

struct BuiltinParsed<B>(B);

impl<B: NetworkBuiltin> Parsed<NetworkFilters> for BuiltinParsed<B> {
    fn clusters(&self) -> Vec<String> {
        self.0.clusters()
    }

    fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<NetworkFilters> {
        let mut config = self.0.clone();
        Box::pin(std::future::ready(config.prepare(&context).map(|()| {
            let config: Arc<dyn NetworkFilterConfig> = Arc::new(BuiltinConfig(config));
            config
        })))
    }
}

struct BuiltinConfig<B>(B);

impl<B: NetworkBuiltin> NetworkFilterConfig for BuiltinConfig<B> {
    fn wants(&self) -> NetworkWants {
        self.0.wants()
    }

    fn on_worker(
        &self,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn NetworkFilterWorker>, BuildError> {
        self.0.on_worker(worker)
    }
}

struct BuiltinWorker<B>(B);

impl<B> WorkerPart for BuiltinWorker<B> {}

impl<B: NetworkBuiltin> NetworkFilterWorker for BuiltinWorker<B> {
    fn connection(
        &self,
        _connection: &mut Connection<'_>,
    ) -> Result<Box<dyn NetworkFilter>, FilterError> {
        Ok(Box::new(self.0.filter()))
    }
}
