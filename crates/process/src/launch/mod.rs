//! Between the fork and the program: the bounds, the identity and the trust of a child process.
//!
//! What a child may do must be set up in the child, and most of it allocates, which a process with threads must not do between fork and
//! exec. So a small launcher is started first: it reads what it is told, verifies files, bounds itself, says what the kernel granted, and
//! becomes the program. What cgroups bound is set from outside ([`cgroup`]). It is the proxy's own executable, or what [`Launcher`] names.

mod calls;
pub mod cgroup;
mod files;
mod granted;
mod launcher;
mod order;
pub mod profile;
pub(crate) mod trust;

pub use granted::Granted;
pub use launcher::{NOT_LAUNCHED, main};
pub use order::{LaunchError, Launcher};
pub use profile::Profile;

pub(crate) use cgroup::Cgroup;
pub(crate) use order::Order;
