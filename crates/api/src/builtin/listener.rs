//! The easy way to a built-in listener filter.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::factory::{
    BuildError, Factory, FilterError, Parsed, Prepare, PrepareContext, PrepareError,
};
use crate::kind::ListenerFilters;
use crate::listener::{ListenerFilter, ListenerFilterConfig, ListenerFilterWorker, Socket};
use crate::node::{Node, ParseError};
use crate::registry::{DuplicateExtension, Registry};
use crate::schema::Schema;
use crate::worker::{Worker, WorkerPart};

/// A listener filter whose configuration is all that it needs.
///
/// ```
/// use transom_api::builtin::ListenerBuiltin;
/// use transom_api::testing::FakeWorker;
/// use transom_api::{ListenerFilter, ListenerVerdict, Node, ParseError, Registry, Schema, Socket};
///
/// /// Closes connections that do not begin with a byte.
/// #[derive(Clone)]
/// struct FirstByte(u8);
///
/// impl ListenerBuiltin for FirstByte {
///     type Filter = Self;
///
///     fn schema() -> Schema {
///         Schema::object().required("byte", Schema::string().describe("The byte that must come first."))
///     }
///
///     fn parse(node: &Node) -> Result<Self, ParseError> {
///         let mut fields = node.as_fields()?;
///         let byte = fields.required("byte")?;
///         fields.finish()?;
///         match byte.as_str()?.as_bytes() {
///             [byte] => Ok(Self(*byte)),
///             _ => Err(byte.error("expected one byte")),
///         }
///     }
///
///     fn peek(&self) -> usize {
///         1
///     }
///
///     fn filter(&self) -> Self {
///         self.clone()
///     }
/// }
///
/// impl ListenerFilter for FirstByte {
///     fn on_peek(&mut self, _socket: &mut Socket<'_>, bytes: &[u8], _end: bool) -> ListenerVerdict {
///         match bytes.first() {
///             Some(first) if *first == self.0 => ListenerVerdict::Continue,
///             _ => ListenerVerdict::Close,
///         }
///     }
/// }
///
/// let mut registry = Registry::new();
/// registry.register_listener_builtin::<FirstByte>("first_byte").unwrap();
///
/// let mut worker = FakeWorker::new();
/// let first = worker.listener_builtin::<FirstByte>(&Node::map([("byte", "x".into())])).unwrap();
/// assert_eq!(first.socket().peek(b"xyz", false), ListenerVerdict::Continue);
/// assert_eq!(first.socket().peek(b"yz", false), ListenerVerdict::Close);
/// ```
pub trait ListenerBuiltin: Clone + Send + Sync + Sized + 'static {
    /// The filter of one socket.
    type Filter: ListenerFilter + 'static;

    /// The shape of the configuration.
    fn schema() -> Schema;

    /// Reads the configuration.
    fn parse(node: &Node) -> Result<Self, ParseError>;

    /// Prepares it: defines metrics.
    fn prepare(&mut self, _context: &PrepareContext) -> Result<(), PrepareError> {
        Ok(())
    }

    /// How many bytes the filter may need to see; 0: none.
    fn peek(&self) -> usize {
        0
    }

    /// Makes the filter of a socket.
    fn filter(&self) -> Self::Filter;
}

impl Registry {
    /// Registers a built-in listener filter.
    pub fn register_listener_builtin<B: ListenerBuiltin>(
        &mut self,
        name: &str,
    ) -> Result<(), DuplicateExtension> {
        self.register::<ListenerFilters>(name, Arc::new(ListenerBuiltinFactory::<B>(PhantomData)))
    }
}

/// The factory of a built-in listener filter, which a stand-in for the registry may use too.
pub(crate) struct ListenerBuiltinFactory<B>(pub(crate) PhantomData<fn() -> B>);

impl<B: ListenerBuiltin> Factory<ListenerFilters> for ListenerBuiltinFactory<B> {
    fn schema(&self) -> Schema {
        B::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<ListenerFilters>>, ParseError> {
        Ok(Arc::new(BuiltinParsed(B::parse(config)?)))
    }
}

struct BuiltinParsed<B>(B);

impl<B: ListenerBuiltin> Parsed<ListenerFilters> for BuiltinParsed<B> {
    fn prepare(&self, context: PrepareContext) -> Prepare<ListenerFilters> {
        let mut config = self.0.clone();
        Box::pin(std::future::ready(config.prepare(&context).map(|()| {
            let config: Arc<dyn ListenerFilterConfig> = Arc::new(BuiltinConfig(config));
            config
        })))
    }
}

struct BuiltinConfig<B>(B);

impl<B: ListenerBuiltin> ListenerFilterConfig for BuiltinConfig<B> {
    fn peek(&self) -> usize {
        self.0.peek()
    }

    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn ListenerFilterWorker>, BuildError> {
        Ok(Rc::new(BuiltinWorker(self.0.clone())))
    }
}

struct BuiltinWorker<B>(B);

impl<B> WorkerPart for BuiltinWorker<B> {}

impl<B: ListenerBuiltin> ListenerFilterWorker for BuiltinWorker<B> {
    fn socket(&self, _socket: &mut Socket<'_>) -> Result<Box<dyn ListenerFilter>, FilterError> {
        Ok(Box::new(self.0.filter()))
    }
}
