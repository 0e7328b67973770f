//! How a plugin ended.

use std::fmt;

/// How a plugin's process ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exit {
    /// Its exit code, if it exited by itself and it was this process that started it.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// What it printed when it crashed: Go's panics and fatal errors, Rust's panics.
    pub crash: Option<String>,
}

impl Exit {
    /// Whether it ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None) => write!(f, "ended in a way that is not known"),
        }
    }
}
