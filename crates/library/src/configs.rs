//! Configurations that a library has made ready, and its workers' parts of them: of every kind.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use transom_abi::{self as abi, Fault, Object, Slice};
use transom_api::event::Event;
use transom_api::factory::{Factory, Parsed, Prepare, RouteConfig};
use transom_api::kind::ExtensionKind;
use transom_api::schema::{Schema, Shape};
use transom_api::{
    BuildError, Node, ParseError, Phase, PrepareContext, PrepareError, Span, Worker,
};

use crate::current::{Control, items, slice_of, text, with_control, with_worker};
use crate::events::with_event;
use crate::load::{Cell, Loaded};
use crate::news::News;
use crate::tables::{Check, Table};

/// A kind of extension that libraries can be.
pub(crate) trait Hosted: Table {
    /// The kind, as the proxy has it.
    type Kind: ExtensionKind;

    /// The label of metrics that names a use.
    const LABEL: &'static str = "filter";

    /// What the proxy gets of a configuration that is ready.
    fn config(
        configured: Configured<Self>,
        wishes: Self::Wishes,
        context: &PrepareContext,
        news: Option<News>,
    ) -> Result<Arc<<Self::Kind as ExtensionKind>::Config>, PrepareError>;

    /// Clusters that it may call.
    fn clusters(_wishes: &Self::Wishes) -> &[String] {
        &[]
    }

    /// Where it runs, for stream filters.
    fn phase(&self) -> Phase {
        Phase::BeforeRoute
    }

    /// By which a library says that it has news, where it can have some.
    fn news() -> Option<News> {
        None
    }

    /// Reads a configuration of a route.
    fn parse_route(_maker: &Maker<Self>, config: &Node) -> Result<RouteConfig, ParseError> {
        Err(config.error("this extension takes no configuration per route"))
    }
}

/// Makes extensions of a library.
pub(crate) struct Maker<T> {
    pub(crate) cell: Cell,
    pub(crate) extension: String,
    kind: std::marker::PhantomData<T>,
}

impl<T: Table> Maker<T> {
    pub(crate) fn new(cell: &Cell, extension: &str) -> Self {
        Self {
            cell: Arc::clone(cell),
            extension: extension.to_owned(),
            kind: std::marker::PhantomData,
        }
    }

    /// The library and the functions, once it is loaded.
    pub(crate) fn table(&self) -> Option<(Arc<Loaded>, T)> {
        let library = self.cell.get()?;
        let table = library.find::<T>(&self.extension).ok()?;
        Some((Arc::clone(library), table))
    }
}

impl<T: Hosted> Factory<T::Kind> for Maker<T> {
    fn schema(&self) -> Schema {
        Schema::new(Shape::Any)
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<T::Kind>>, ParseError> {
        Ok(Arc::new(Written {
            maker: Self::new(&self.cell, &self.extension),
            config: config.clone(),
            clusters: Arc::default(),
        }))
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        T::parse_route(self, config)
    }
}

/// A use as it is written.
struct Written<T> {
    maker: Maker<T>,
    config: Node,
    /// What it has said, once it was prepared.
    clusters: Arc<OnceLock<Vec<String>>>,
}

impl<T: Hosted> Parsed<T::Kind> for Written<T> {
    fn clusters(&self) -> Vec<String> {
        self.clusters.get().cloned().unwrap_or_default()
    }

    fn phase(&self) -> Phase {
        let table = self.maker.table();
        table.map_or(Phase::BeforeRoute, |(_, table)| table.phase())
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<T::Kind> {
        let (cell, extension) = (Arc::clone(&self.maker.cell), self.maker.extension.clone());
        let (config, said) = (self.config.clone(), Arc::clone(&self.clusters));
        Box::pin(async move {
            let library = cell
                .get()
                .ok_or_else(|| PrepareError::new("the library is not loaded"))?;
            let table = library.find::<T>(&extension)?;
            let library = Arc::clone(library);
            // It may take its time, and the control side has more to do.
            let prepared = tokio::task::spawn_blocking(move || {
                check(&library, &table, &config, false)?;
                let news = T::news();
                let (made, wishes) =
                    Configured::prepare(&library, table, &config, &context, news.as_ref())?;
                let clusters = T::clusters(&wishes).to_vec();
                Ok::<_, PrepareError>((T::config(made, wishes, &context, news)?, clusters))
            });
            let (config, clusters) = prepared.await.map_err(|error| {
                PrepareError::new(format!(
                    "the library's preparation ended in a panic: {error}"
                ))
            })??;
            // A second preparation says the same.
            let _ = said.set(clusters);
            Ok(config)
        })
    }
}

/// A configuration that its library has made ready.
pub(crate) struct Configured<T: Table> {
    pub(crate) table: T,
    pub(crate) object: Object,
    /// As it was written, to find the place of what is at fault later.
    pub(crate) config: Node,
    /// What the functions are of.
    pub(crate) library: Arc<Loaded>,
}

// SAFETY: The border says that a configuration may be used from any worker, and released on any thread.
unsafe impl<T: Table> Send for Configured<T> {}
// SAFETY: As above.
unsafe impl<T: Table> Sync for Configured<T> {}

impl<T: Hosted> Configured<T> {
    /// Has the library make a configuration ready.
    fn prepare(
        library: &Arc<Loaded>,
        table: T,
        config: &Node,
        context: &PrepareContext,
        news: Option<&News>,
    ) -> Result<(Self, T::Wishes), PrepareError> {
        let written = config.to_json();
        let mut wants = table.wants();
        let mut refusal = Refusal::new();
        let mut fault = refusal.fault();
        let control = Control {
            context,
            label: T::LABEL,
            news: news.map(News::resumer),
        };
        let prepare = table.common().prepare;
        let object = with_control(&control, |control| {
            // SAFETY: The library's function, with what the border says it gets.
            unsafe {
                prepare(
                    control,
                    slice_of(written.as_bytes()),
                    &raw mut wants,
                    &raw mut fault,
                )
            }
        });
        if object.is_null() {
            return Err(refusal.error(&fault, library, config));
        }
        // From here on it has the library release it.
        let made = Self {
            table,
            object,
            config: config.clone(),
            library: Arc::clone(library),
        };
        // SAFETY: The library's lists, which hold until the configuration is released.
        let wishes = unsafe { T::read(&wants, library)? };
        Ok((made, wishes))
    }
}

impl<T: Table> Drop for Configured<T> {
    fn drop(&mut self) {
        let release = self.table.common().release;
        // SAFETY: The library's own object, used by nobody any more.
        unsafe { release(self.object) };
    }
}

/// What the library has on a worker.
pub(crate) struct WorkerObject<T: Table> {
    pub(crate) object: Object,
    pub(crate) config: Arc<Configured<T>>,
}

impl<T: Table> WorkerObject<T> {
    /// Has it begin on a worker.
    pub(crate) fn start(
        config: &Arc<Configured<T>>,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<Self>, BuildError> {
        let object = match config.table.common().worker_start {
            None => config.object,
            Some(start) => {
                // SAFETY: The library's function, with an object of its own and a handle.
                let object = with_worker(worker, |worker| unsafe { start(config.object, worker) });
                if object.is_null() {
                    return Err(BuildError {
                        message: format!("{} cannot begin on this worker", config.library),
                    });
                }
                object
            }
        };
        Ok(Rc::new(Self {
            object,
            config: Arc::clone(config),
        }))
    }

    /// Tells it what happened.
    pub(crate) fn on_event(&self, worker: &mut Worker<'_>, event: &Event) {
        if let Some(on_event) = self.config.table.common().worker_event {
            with_event(event, |event| {
                // SAFETY: The library's function, with an object of its own, a handle and an event that holds for the call.
                with_worker(worker, |worker| unsafe {
                    on_event(self.object, worker, event);
                });
            });
        }
    }
}

impl<T: Table> Drop for WorkerObject<T> {
    fn drop(&mut self) {
        let common = self.config.table.common();
        if let (Some(_), Some(end)) = (common.worker_start, common.worker_end) {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { end(self.object) };
        }
    }
}

/// Asks the library whether a configuration is good, if it has a function for that. The error is its text.
pub(crate) fn check<T: Table>(
    library: &Loaded,
    table: &T,
    config: &Node,
    is_route: bool,
) -> Result<(), PrepareError> {
    let check = table.common().check;
    if matches!(check, Check::WithRoute(None) | Check::Plain(None)) {
        return Ok(());
    }
    let written = config.to_json();
    let slice: Slice = slice_of(written.as_bytes());
    let mut refusal = Refusal::new();
    let mut fault = refusal.fault();
    let status = match check {
        // SAFETY: The library's function, with what the border says it gets.
        Check::WithRoute(Some(check)) => unsafe {
            check(slice, u32::from(is_route), &raw mut fault)
        },
        // SAFETY: As above.
        Check::Plain(Some(check)) => unsafe { check(slice, &raw mut fault) },
        _ => abi::OK,
    };
    match status {
        abi::OK => Ok(()),
        _ => Err(refusal.error(&fault, library, config)),
    }
}

/// Names of clusters that a library has listed.
///
/// # Safety
///
/// There must be so many.
pub(crate) unsafe fn clusters_of(
    first: *const Slice,
    count: usize,
    library: &Loaded,
) -> Result<Vec<String>, PrepareError> {
    // SAFETY: Promised by the caller.
    let listed = unsafe { items(first, count) }.iter();
    // SAFETY: As above.
    let named = listed.map(|cluster| unsafe { text(*cluster) }.map(str::to_owned));
    named
        .collect::<Result<_, _>>()
        .map_err(|_| PrepareError::new(format!("{library} names a cluster that is no UTF-8")))
}

/// Where a JSON pointer (RFC 6901) leads.
pub(crate) fn place_of(config: &Node, pointer: &str) -> Option<Span> {
    let steps = pointer.split('/').skip(1);
    let steps: Vec<String> = steps
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    config.place_of(steps.iter().map(String::as_str))
}

/// What the library wrote into room of ours.
pub(crate) struct Refusal {
    text: [u8; 1024],
    path: [u8; 256],
}

impl Refusal {
    pub(crate) fn new() -> Self {
        Self {
            text: [0; 1024],
            path: [0; 256],
        }
    }

    pub(crate) fn fault(&mut self) -> Fault {
        Fault {
            size: size_of::<Fault>(),
            text: self.text.as_mut_ptr(),
            capacity: self.text.len(),
            len: 0,
            path: self.path.as_mut_ptr(),
            path_capacity: self.path.len(),
            path_len: 0,
        }
    }

    /// The error, at the value that the library names.
    pub(crate) fn error(&self, fault: &Fault, library: &Loaded, config: &Node) -> PrepareError {
        let read = |bytes: &[u8], len: usize| {
            let written = bytes.get(..len.min(bytes.len())).unwrap_or_default();
            String::from_utf8_lossy(written).into_owned()
        };
        let (why, path) = (
            read(&self.text, fault.len),
            read(&self.path, fault.path_len),
        );
        let why = match why.as_str() {
            "" => "it does not say why",
            why => why,
        };
        let error = PrepareError::new(format!("{library} refuses this configuration: {why}"));
        error.at(place_of(config, &path))
    }
}
