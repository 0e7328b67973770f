//! Panics as Go hosts know them.

use std::backtrace::Backtrace;
use std::fmt::Write;
use std::panic::PanicHookInfo;

use super::stdio::write_log;

/// From now on a panic is also printed on the log's descriptor, beginning with `panic: ` at the start of a line. Go hosts of
/// 1.7.0 and later log that line, and the untagged lines that follow it, as errors.
pub(crate) fn install_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        write_log(report(info).as_bytes());
        before(info);
    }));
}

fn report(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("a value that is no text");
    let mut text = format!("panic: {message}\n\n");
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "thread {name:?} [panicked]:");
    if let Some(location) = info.location() {
        let _ = writeln!(text, "\t{location}");
    }
    // Always captured: whoever reads a host's log cannot set RUST_BACKTRACE for one crash that has happened.
    let _ = writeln!(text, "{}", Backtrace::force_capture());
    text
}
