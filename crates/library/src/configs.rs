//! Configurations that a library has made, and what was made of them.

use std::sync::{Arc, OnceLock};

use transom_abi::{self as abi, Fault, Object, Slice, Status};
use transom_api::stream::Wants;
use transom_api::{Node, Phase, PrepareContext, PrepareError, Span};

use crate::current::{items, slice_of, text, with_control};
use crate::load::{Loaded, StreamFilterTable};

/// Where a JSON pointer (RFC 6901) leads.
fn place_of(config: &Node, pointer: &str) -> Option<Span> {
    let steps = pointer.split('/').skip(1);
    let steps: Vec<String> = steps
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    config.place_of(steps.iter().map(String::as_str))
}

/// A configuration of a stream filter that its library has made ready.
pub(crate) struct Configured {
    pub(crate) table: StreamFilterTable,
    pub(crate) object: Object,
    pub(crate) wants: Wants,
    pub(crate) clusters: Vec<String>,
    /// The request phase, where that depends on the configuration.
    pub(crate) phase: Option<Phase>,
    /// What the functions are of.
    pub(crate) library: Arc<Loaded>,
}

// SAFETY: The border says that a configuration may be used from any worker, and released on any thread.
unsafe impl Send for Configured {}
// SAFETY: As above.
unsafe impl Sync for Configured {}

/// What the library wrote into room of ours.
struct Refusal {
    text: [u8; 1024],
    path: [u8; 256],
}

impl Refusal {
    fn new() -> Self {
        Self {
            text: [0; 1024],
            path: [0; 256],
        }
    }

    fn fault(&mut self) -> Fault {
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
    fn error(&self, fault: &Fault, library: &Loaded, config: &Node) -> PrepareError {
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

impl Configured {
    /// Has the library make a configuration ready.
    pub(crate) fn prepare(
        library: &Arc<Loaded>,
        table: StreamFilterTable,
        config: &Node,
        context: &PrepareContext,
    ) -> Result<Self, PrepareError> {
        let written = config.to_json();
        let mut wants = abi::Wants {
            size: size_of::<abi::Wants>(),
            callbacks: 127,
            reserved: 0,
            whole_request_body: 0,
            whole_response_body: 0,
            buffer_limit: 0,
            clusters: std::ptr::null(),
            cluster_count: 0,
            phase: 0,
            reserved_phase: 0,
        };
        let mut refusal = Refusal::new();
        let mut fault = refusal.fault();
        let object = with_control(context, |control| {
            // SAFETY: The library's function, with what the border says it gets.
            unsafe {
                (table.prepare)(
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
        let mut made = Self {
            table,
            object,
            wants: Wants::NOTHING,
            clusters: Vec::new(),
            phase: None,
            library: Arc::clone(library),
        };
        // From here on `made` has the library release it.
        made.wants = read_wants(&wants).ok_or_else(|| {
            PrepareError::new(format!(
                "{library} asks for callbacks with the bits {:#x}, of which some are unknown: it was made for a newer host",
                wants.callbacks
            ))
        })?;
        made.phase = match wants.phase {
            0 => None,
            1 => Some(Phase::BeforeRoute),
            2 => Some(Phase::AfterRoute),
            3 => Some(Phase::AfterChooseHost),
            other => {
                return Err(PrepareError::new(format!(
                    "{library} asks for the phase {other}, which there is not"
                )));
            }
        };
        // SAFETY: The library's list, which holds until the configuration is released.
        let clusters = unsafe { items(wants.clusters, wants.cluster_count) };
        for cluster in clusters {
            // SAFETY: As above.
            let name = unsafe { text(*cluster) };
            made.clusters.push(
                name.map_err(|_| {
                    PrepareError::new(format!("{library} names a cluster that is no UTF-8"))
                })?
                .to_owned(),
            );
        }
        Ok(made)
    }

    /// Has the library make a configuration of a route ready.
    pub(crate) fn prepare_route(
        self: &Arc<Self>,
        route: &Node,
    ) -> Result<RouteObject, PrepareError> {
        let Some(prepare) = self.table.prepare_route else {
            let error = format!("{} takes no configuration per route", self.library);
            return Err(PrepareError::new(error));
        };
        let written = route.to_json();
        let mut refusal = Refusal::new();
        let mut fault = refusal.fault();
        // SAFETY: The library's function, with an object of its own.
        let object = unsafe { prepare(self.object, slice_of(written.as_bytes()), &raw mut fault) };
        if object.is_null() {
            return Err(refusal.error(&fault, &self.library, route));
        }
        Ok(RouteObject {
            object,
            config: Arc::clone(self),
        })
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: The library's own object, used by nobody any more.
        unsafe { (self.table.release)(self.object) };
    }
}

fn read_wants(wants: &abi::Wants) -> Option<Wants> {
    Some(Wants::from_bits(wants.callbacks)?.bounds(
        wants.whole_request_body,
        wants.whole_response_body,
        wants.buffer_limit,
    ))
}

/// A configuration of a route, as its library has made it.
pub(crate) struct RouteObject {
    object: Object,
    config: Arc<Configured>,
}

// SAFETY: The border says that a configuration may be used from any worker, and released on any thread.
unsafe impl Send for RouteObject {}
// SAFETY: As above.
unsafe impl Sync for RouteObject {}

impl RouteObject {
    pub(crate) fn get(&self) -> Object {
        self.object
    }
}

impl Drop for RouteObject {
    fn drop(&mut self) {
        if let Some(release) = self.config.table.release_route {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { release(self.object) };
        }
    }
}

/// Asks the library whether a configuration is good, if it has a function for that. The error is its text.
pub(crate) fn check(
    library: &Loaded,
    table: &StreamFilterTable,
    config: &Node,
    is_route: bool,
) -> Result<(), PrepareError> {
    let Some(check) = table.check else {
        return Ok(());
    };
    let written = config.to_json();
    let mut refusal = Refusal::new();
    let mut fault = refusal.fault();
    let config_slice: Slice = slice_of(written.as_bytes());
    // SAFETY: The library's function, with what the border says it gets.
    let status: Status = unsafe { check(config_slice, u32::from(is_route), &raw mut fault) };
    match status {
        abi::OK => Ok(()),
        _ => Err(refusal.error(&fault, library, config)),
    }
}

/// What a use has said, once it was prepared.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) clusters: OnceLock<Vec<String>>,
    /// The request phase, where that depends on the configuration.
    pub(crate) phase: OnceLock<Phase>,
}
