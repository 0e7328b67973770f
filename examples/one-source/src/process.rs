//! The filter in a process of its own.

use std::process::ExitCode;

use one_source::Gate;
use transom_sdk::Plugin;

fn main() -> ExitCode {
    Plugin::new("one-source", env!("CARGO_PKG_VERSION"))
        .stream_filter::<Gate>()
        .serve()
}
