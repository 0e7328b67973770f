//! Stream filters: the table of functions that stands for a factory.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use transom_abi::{
    self as abi, Extension, Fault, Handle, Object, STREAM_FILTER, Slice, Status,
    StreamFilter as Table,
};
use transom_api::builtin::{self, Builtin};
use transom_api::stream::{StreamFilter, StreamFilterConfig, StreamFilterWorker};
use transom_api::{
    Event, Factory, FilterError, Node, Phase, RouteConfig, Stream, StreamFilters, StreamInstance,
    Wants,
};

use super::config::{self, Wrong};
use super::guard::{dropped, guarded};
use super::host::{call, slice_of, write_log};
use super::prepare;
use super::stream::{GuestStream, Kept};
use super::worker::KeptWorker;

/// Makes the factory that an extension stands for: a type, since functions of C have nothing else to tell extensions apart.
pub trait Make: 'static {
    /// The factory.
    fn make() -> Arc<dyn Factory<StreamFilters>>;
}

/// The factory of a built-in's type.
pub struct Builtins<B>(PhantomData<B>);

impl<B: Builtin> Make for Builtins<B> {
    fn make() -> Arc<dyn Factory<StreamFilters>> {
        builtin::factory::<B>()
    }
}

/// The description of an extension that `M` makes.
#[must_use]
pub fn extension<M: Make>(name: &'static str) -> Extension {
    Extension {
        kind: STREAM_FILTER,
        // Each configuration says its own.
        phase: 0,
        name: slice_of(name.as_bytes()),
        table: (&raw const *<Tables<M>>::TABLE).cast(),
    }
}

struct Tables<M>(PhantomData<M>);

impl<M: Make> Tables<M> {
    const TABLE: &'static Table = &Table {
        size: size_of::<Table>(),
        check: Some(check::<M>),
        prepare: Some(prepare::<M>),
        release: Some(release),
        prepare_route: Some(prepare_route),
        release_route: Some(release_route),
        worker_start: Some(worker_start),
        worker_event: Some(worker_event),
        worker_end: Some(worker_end),
        stream_start: Some(stream_start),
        stream_end: Some(stream_end),
        request_headers: Some(request_headers),
        request_body: Some(request_body),
        request_trailers: Some(request_trailers),
        response_headers: Some(response_headers),
        response_body: Some(response_body),
        response_trailers: Some(response_trailers),
        event: Some(event),
        complete: Some(complete),
    };
}

/// A configuration that is ready.
struct Config {
    factory: Arc<dyn Factory<StreamFilters>>,
    config: Arc<dyn StreamFilterConfig>,
    phase: Phase,
    /// What `clusters` points to.
    _names: Vec<String>,
    clusters: Vec<Slice>,
}

/// What a worker has of it.
struct Part {
    part: Rc<dyn StreamFilterWorker>,
    kept: KeptWorker,
    phase: Phase,
}

/// The filter of a stream.
struct Filter {
    instance: StreamInstance,
    kept: Kept,
}

// Each function below gets what the border promises: slices and structs that hold for the call, objects that it made itself.

unsafe extern "C" fn check<M: Make>(config: Slice, route: u32, fault: *mut Fault) -> Status {
    let act = |node: &Node| match route {
        0 => M::make().parse(node).map(|_| ()),
        _ => M::make().parse_route(node).map(|_| ()),
    };
    // SAFETY: What the host gave.
    match unsafe { told(config, fault, |node| Ok(act(node)?)) } {
        Some(()) => abi::OK,
        None => abi::BAD_ARGUMENT,
    }
}

/// Reads a configuration and does something with it; what is wrong is told.
///
/// # Safety
///
/// The arguments must be what the host gave.
unsafe fn told<T>(
    config: Slice,
    fault: *mut Fault,
    act: impl FnOnce(&Node) -> Result<T, Wrong>,
) -> Option<T> {
    // SAFETY: Promised by the caller.
    let node = unsafe { config::read(config) };
    let (node, done) = match node {
        Err(wrong) => (None, Err(wrong)),
        Ok(node) => {
            let done = guarded(|| act(&node)).unwrap_or_else(|why| Err(why.into()));
            (Some(node), done)
        }
    };
    match done {
        Ok(done) => Some(done),
        Err(wrong) => {
            // SAFETY: Promised by the caller.
            unsafe { config::tell(fault, node.as_ref(), wrong) };
            None
        }
    }
}

unsafe extern "C" fn prepare<M: Make>(
    control: Handle,
    config: Slice,
    wants: *mut abi::Wants,
    fault: *mut Fault,
) -> Object {
    let act = |node: &Node| {
        let factory = M::make();
        let parsed = factory.parse(node)?;
        let prepared = prepare::wait_for(parsed.prepare(prepare::context(control)))?;
        let names = parsed.clusters();
        Ok(Config {
            factory,
            phase: parsed.phase(),
            clusters: names.iter().map(|name| slice_of(name.as_bytes())).collect(),
            _names: names,
            config: prepared,
        })
    };
    // SAFETY: What the host gave.
    let Some(config) = (unsafe { told(config, fault, act) }) else {
        return std::ptr::null_mut();
    };
    let config = Box::new(config);
    let wanted = guarded(|| config.config.wants()).unwrap_or(Wants::EVERYTHING);
    // SAFETY: The host's, as large as it says.
    if let Some(wants) = unsafe { wants.as_mut() } {
        wants.callbacks = wanted.bits();
        wants.whole_request_body = wanted.whole_request_body.unwrap_or(0);
        wants.whole_response_body = wanted.whole_response_body.unwrap_or(0);
        wants.buffer_limit = wanted.buffer_limit;
        wants.clusters = config.clusters.as_ptr();
        wants.cluster_count = config.clusters.len();
        if wants.size >= size_of::<abi::Wants>() {
            wants.phase = config.phase as u32 + 1;
        }
    }
    Box::into_raw(config).cast()
}

unsafe extern "C" fn release(config: Object) {
    // SAFETY: The host gives it back once.
    unsafe { dropped::<Config>(config) };
}

unsafe extern "C" fn prepare_route(config: Object, route: Slice, fault: *mut Fault) -> Object {
    // SAFETY: What `prepare` made.
    let config = unsafe { &*config.cast::<Config>() };
    let act = |node: &Node| {
        let parsed = config.factory.parse_route(node)?;
        Ok(config.config.prepare_route(parsed)?)
    };
    // SAFETY: What the host gave.
    match unsafe { told::<RouteConfig>(route, fault, act) } {
        Some(route) => Box::into_raw(Box::new(route)).cast(),
        None => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn release_route(route: Object) {
    // SAFETY: The host gives it back once.
    unsafe { dropped::<RouteConfig>(route) };
}

unsafe extern "C" fn worker_start(config: Object, worker: Handle) -> Object {
    // SAFETY: What `prepare` made.
    let config = unsafe { &*config.cast::<Config>() };
    let kept = KeptWorker::default();
    let built = guarded(|| {
        let built = kept.with(worker, |worker| config.config.on_worker(worker));
        built.map_err(|error| error.message)
    });
    match built.unwrap_or_else(Err) {
        Ok(part) => {
            let phase = config.phase;
            Box::into_raw(Box::new(Part { part, kept, phase })).cast()
        }
        Err(why) => {
            write_log(worker, abi::ERROR, &why);
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn worker_event(part: Object, worker: Handle, event: *const abi::Event) {
    // SAFETY: What `worker_start` made.
    let part = unsafe { &*part.cast::<Part>() };
    let done = guarded(|| {
        // SAFETY: What the host shows.
        if let Some(event) = unsafe { part.kept.event(worker, event) } {
            part.kept
                .with(worker, |worker| part.part.on_event(worker, event));
        }
    });
    if let Err(why) = done {
        write_log(worker, abi::ERROR, &why);
    }
}

unsafe extern "C" fn worker_end(part: Object) {
    // SAFETY: The host gives it back once.
    unsafe { dropped::<Part>(part) };
}

unsafe extern "C" fn stream_start(part: Object, stream: Handle) -> Object {
    // SAFETY: What `worker_start` made.
    let part = unsafe { &*part.cast::<Part>() };
    let mut kept = Kept::new(part.phase);
    let made = guarded(|| {
        let mut host = GuestStream::new(stream, &mut kept);
        part.part.stream(&mut Stream::new(&mut host))
    });
    match made.unwrap_or_else(|why| Err(FilterError::broken(why))) {
        Ok(StreamInstance::Skip) => {
            call!(forgo(stream, Wants::EVERYTHING.bits()));
            std::ptr::null_mut()
        }
        Ok(instance) => Box::into_raw(Box::new(Filter { instance, kept })).cast(),
        Err(error) => {
            fail(stream, &error);
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn stream_end(filter: Object) {
    // SAFETY: The host gives it back once.
    unsafe { dropped::<Filter>(filter) };
}

fn fail(stream: Handle, error: &FilterError) {
    let why = slice_of(error.message.as_bytes());
    call!(fail(stream, error.status.into(), why));
}

/// Calls the filter; what it answers, or `otherwise` when it panics, which is its failure.
///
/// # Safety
///
/// `filter` must be what `stream_start` made.
unsafe fn on<T>(
    filter: Object,
    stream: Handle,
    otherwise: T,
    act: impl FnOnce(&mut dyn StreamFilter, &mut Stream<'_>) -> T,
) -> T {
    // SAFETY: Promised by the caller; null where the stream passes without a filter.
    let Some(filter) = (unsafe { filter.cast::<Filter>().as_mut() }) else {
        return otherwise;
    };
    let done = guarded(|| {
        let mut host = GuestStream::new(stream, &mut filter.kept);
        let mut context = Stream::new(&mut host);
        match &mut filter.instance {
            StreamInstance::Own(filter) => Some(act(&mut **filter, &mut context)),
            StreamInstance::Shared(filter) => Some(act(&mut *filter.borrow_mut(), &mut context)),
            StreamInstance::Skip => None,
        }
    });
    match done {
        Ok(Some(answer)) => answer,
        Ok(None) => otherwise,
        Err(why) => {
            fail(stream, &FilterError::broken(why));
            otherwise
        }
    }
}

/// The callbacks that answer with a verdict; 0 lets pass.
macro_rules! callbacks {
    ($($callback:ident $(($end:ident))?;)*) => {$(
        unsafe extern "C" fn $callback(filter: Object, stream: Handle $(, $end: u32)?) -> i32 {
            // SAFETY: What `stream_start` made.
            unsafe {
                on(filter, stream, 0, |filter, stream| {
                    filter.$callback(stream $(, $end != 0)?) as i32
                })
            }
        }
    )*};
}
callbacks! {
    request_headers(end);
    request_body(end);
    request_trailers;
    response_headers(end);
    response_body(end);
    response_trailers;
}

unsafe extern "C" fn event(filter: Object, stream: Handle, event: *const abi::Event) {
    // SAFETY: What `stream_start` made.
    let kept = unsafe { filter.cast::<Filter>().as_ref() };
    // SAFETY: What the host shows.
    let event: Option<Event> = kept.and_then(|filter| unsafe { filter.kept.later.event(event) });
    if let Some(event) = event {
        // SAFETY: As above.
        unsafe {
            on(filter, stream, (), |filter, stream| {
                filter.on_event(stream, event);
            });
        }
    }
}

unsafe extern "C" fn complete(filter: Object, stream: Handle) {
    // SAFETY: As above.
    unsafe {
        on(filter, stream, (), |filter, stream| {
            filter.on_stream_complete(stream);
        });
    }
}
