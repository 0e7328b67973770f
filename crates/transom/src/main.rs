//! The program: command line, and the only place that knows all runtimes and sources.

fn main() {}
