//! What a library's selector is.

use crate::library::Object;
use crate::values::{Fault, Handle, Slice, Status};

/// What a selector needs: nothing yet.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SelectorWants {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
}

/// A host of a cluster. Its place in the list is its index.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SelectorHost {
    /// Where it is, as the configuration writes it.
    pub address: Slice,
    /// Its share beside the other hosts' weights, 1 or more.
    pub weight: u32,
    /// 0.
    pub reserved: u32,
}

/// The functions of a selector, which chooses a host of a cluster. Those that may be null say so.
///
/// ```text
/// check                   any thread, any time; keeps nothing
/// prepare … release       the control side: one configuration
///   table_start … table_end              the control side: one version of the list of hosts
///     selector_start … selector_end      each worker, for that list; in between, select
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Selector {
    /// The size of this struct, as its maker knows it.
    pub size: usize,

    /// Whether a configuration, as JSON, is good: [`OK`](crate::OK), or anything else and why. Null: `prepare` says so.
    pub check: Option<unsafe extern "C" fn(config: Slice, fault: *mut Fault) -> Status>,
    /// Makes a configuration ready. `control` is good for [`Host::metric_define`](crate::Host::metric_define) and the log.
    /// Null refuses it, and `fault` says why.
    pub prepare: Option<
        unsafe extern "C" fn(
            control: Handle,
            config: Slice,
            wants: *mut SelectorWants,
            fault: *mut Fault,
        ) -> Object,
    >,
    /// The configuration is gone; nothing of it is in use.
    pub release: Option<unsafe extern "C" fn(config: Object)>,

    /// Makes what workers choose by, for `count` hosts, each of `host_size` bytes. It may take its time; an order of hosts that
    /// takes long to make belongs here. Its answer may be null, which is no failure. May be null: then it is the configuration.
    pub table_start: Option<
        unsafe extern "C" fn(
            config: Object,
            hosts: *const SelectorHost,
            count: usize,
            host_size: usize,
        ) -> Object,
    >,
    /// The list of hosts is another one. Any thread. May be null.
    pub table_end: Option<unsafe extern "C" fn(table: Object)>,

    /// A worker begins to choose; `start` is the position of its predecessor, or the worker's number. May be null: then
    /// workers choose by the table itself.
    pub selector_start: Option<unsafe extern "C" fn(table: Object, start: usize) -> Object>,
    /// It chooses no more. May be null.
    pub selector_end: Option<unsafe extern "C" fn(selector: Object)>,
    /// The index of the host to use, or -1 when none is available. Called for each request and each connection. An index of a
    /// host that is not available counts as -1, and then the proxy takes any that is. `choice` is good for
    /// [`Host::host_available`](crate::Host::host_available), [`Host::host_active`](crate::Host::host_active) and
    /// [`Host::random`](crate::Host::random).
    pub select: Option<unsafe extern "C" fn(selector: Object, choice: Handle) -> i64>,
    /// How far it has come in its turns, for its successor. May be null: 0.
    pub position: Option<unsafe extern "C" fn(selector: Object) -> usize>,
}

// SAFETY: A library's tables are static data and functions; the pointers in them are never written through.
unsafe impl Sync for Selector {}
