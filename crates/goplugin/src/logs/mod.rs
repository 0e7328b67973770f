//! What a plugin writes on its standard error, line by line: hclog's JSON, lines with a level in front, panics, anything.

mod limit;
mod line;
mod reader;
pub(crate) mod timestamp;

pub(crate) use limit::Limit;
pub use line::{Level, LogLine};
pub use reader::{LogConfig, LogSink};
pub(crate) use reader::{Record, read};
