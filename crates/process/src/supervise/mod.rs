//! Keeps programs running beside the proxy: started, watched, started again, bounded.
//!
//! ```text
//!   Supervisor ─▶ Plugin (a Spec) ─▶ Group (a version) ─▶ Slot ─▶ one process after another   tasks of the control side
//!                    │                 swap                 start, watch, health, memory, back-off
//!                    │ instances(), choose()        ▼
//!   workers ◀────────┴───────────────────────── Instance: admit() ─▶ Permit ─▶ end(Outcome)   atomics only
//! ```
//!
//! Nothing here is on the path of a request: workers read what is published by an atomic load, and count in atomics.

mod admin;
mod child;
mod error;
mod group;
mod instance;
mod load;
mod output;
mod plugin;
mod readiness;
mod restarts;
mod slot;
pub mod spec;
mod state;
mod status;
mod supervisor;
mod swap;
mod usage;

pub use admin::Question;
pub use child::{COOKIE, Place};
pub use error::StartError;
pub use instance::{Hold, Instance, Permit};
pub use load::{Counts, Outcome, Refused};
pub use plugin::{Plugin, Side};
pub use spec::{Protocol, Spec};
pub use state::State;
pub use supervisor::{Order, Supervisor};
pub use usage::Usage;
