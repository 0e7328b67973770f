//! What the kernel granted of a sandbox, as the launcher tells it.

use serde::{Deserialize, Serialize};
use transom_goplugin::LogLine;

/// The module that the launcher's one line names.
pub(crate) const MODULE: &str = "transom.launcher";

/// What holds for a process that was started by the launcher.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Granted {
    /// Whether all that was asked for holds.
    pub full: bool,
    /// The version of Landlock's interface that the kernel has; 0 without Landlock, absent if it was not asked for.
    pub landlock: Option<u32>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Whether rights can be gained no more.
    pub no_new_privs: bool,
    /// The user and group that it runs as, where they were changed.
    pub user: Option<String>,
    /// Files that were verified.
    pub verified: u32,
    /// What could not be had, in words.
    pub missing: Vec<String>,
}

impl Granted {
    /// The line on standard error by which the launcher says it, in hclog's form.
    pub(super) fn line(&self) -> String {
        let mut line = serde_json::json!({
            "@level": "debug",
            "@module": MODULE,
            "@message": "the sandbox is set up",
        });
        if let Some(line) = line.as_object_mut() {
            line.insert(
                "granted".into(),
                serde_json::to_value(self).unwrap_or_default(),
            );
        }
        line.to_string()
    }

    /// Reads that line.
    pub(crate) fn read(line: &LogLine) -> Option<Self> {
        if line.module.as_deref() != Some(MODULE) {
            return None;
        }
        serde_json::from_value(line.fields.get("granted")?.clone()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_granted_is_read_back() {
        let granted = Granted {
            landlock: Some(7),
            missing: vec!["x".into()],
            ..Granted::default()
        };
        let line = LogLine::parse(&granted.line());
        assert_eq!(Granted::read(&line), Some(granted));
        assert_eq!(Granted::read(&LogLine::parse("else")), None);
    }
}
