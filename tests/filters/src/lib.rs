//! Filters that prove the extension interface; they see `transom-api` and nothing else.
//!
//! Each file is a theme of the interface, each filter does one thing, mostly something that a filter should not need to
//! do or should better not do. [`register`] puts all of them into a registry and gives back a [`Lab`]: what they
//! observe is read there, and what they wait for is set free there, from the thread of the test.
//!
//! - [`lab`]: the test's side; `kit`: what the filters have in common;
//! - `pause`, `flow`, `timers`: waiting, and going on by another thread, by time, by a callout;
//! - `bodies`: buffers, limits, rewriting, injecting;
//! - `routes`: other routes, other hosts, skipped phases, configuration per route;
//! - `hosts`: a host that is asked for, words of the answer, metadata of routes;
//! - `faults`: panics, failures, ends; `parts`: what lives on a worker;
//! - `notes`: what filters leave for each other and for the access log, shared data and metrics;
//! - `trace`: everything that happens, in order; `network`: filters on the bytes of a connection; `peek`: on a
//!   socket before it;
//! - `plugins`: a runtime, whose plugins are the filters that are here;
//! - [`certificates`]: a certificate provider that is late, fails and panics.

mod attributes;
mod bodies;
pub mod certificates;
mod faults;
mod flow;
mod hosts;
mod kit;
pub mod lab;
mod network;
mod notes;
mod parts;
mod pause;
mod peek;
mod plugins;
mod routes;
mod timers;
mod trace;

use transom_api::{DuplicateExtension, Registry};

pub use lab::Lab;

/// Registers all test filters. What they observe comes to the [`Lab`] that is given back.
pub fn register(registry: &mut Registry) -> Result<Lab, DuplicateExtension> {
    let lab = Lab::default();
    pause::register(registry, &lab)?;
    flow::register(registry, &lab)?;
    timers::register(registry, &lab)?;
    bodies::register(registry, &lab)?;
    routes::register(registry, &lab)?;
    hosts::register(registry, &lab)?;
    faults::register(registry, &lab)?;
    parts::register(registry, &lab)?;
    attributes::register(registry, &lab)?;
    notes::register(registry, &lab)?;
    trace::register(registry, &lab)?;
    network::register(registry, &lab)?;
    peek::register(registry)?;
    certificates::register(registry, &lab)?;
    plugins::register(registry, &lab);
    Ok(lab)
}
