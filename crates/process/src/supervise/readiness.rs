//! In which processes the uses of a plugin are ready. On the control side: a swap waits for it, and ends by it.

use std::collections::{BTreeMap, BTreeSet};

/// The uses of a plugin, and what its processes made of them.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    uses: BTreeSet<u64>,
    /// Use and process.
    ready: BTreeSet<(u64, u64)>,
    /// Processes that would not have a use, and why.
    refused: BTreeMap<u64, String>,
}

impl Readiness {
    /// There is one more use.
    pub(super) fn begins(&mut self, used: u64) {
        self.uses.insert(used);
    }

    /// A use is no more.
    pub(super) fn ends(&mut self, used: u64) {
        self.uses.remove(&used);
        self.ready.retain(|(other, _)| *other != used);
    }

    /// A process has prepared a use.
    pub(super) fn is_ready(&mut self, used: u64, process: u64) {
        self.ready.insert((used, process));
    }

    /// A process will not have a use, however often it is asked.
    pub(super) fn refuses(&mut self, process: u64, why: String) {
        self.refused.insert(process, why);
    }

    /// Forgets a process that has ended.
    pub(super) fn forgets(&mut self, process: u64) {
        self.ready.retain(|(_, other)| *other != process);
        self.refused.remove(&process);
    }

    /// Whether all uses are ready in a process.
    pub(super) fn has_all(&self, process: u64) -> bool {
        self.uses
            .iter()
            .all(|used| self.ready.contains(&(*used, process)))
    }

    /// Why a process will not have a use.
    pub(super) fn refusal(&self, process: u64) -> Option<&str> {
        self.refused.get(&process).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_it_has_all_uses() {
        let mut readiness = Readiness::default();
        assert!(readiness.has_all(1), "there is nothing to prepare");
        readiness.begins(10);
        readiness.begins(11);
        readiness.is_ready(10, 1);
        assert!(!readiness.has_all(1));
        readiness.is_ready(11, 1);
        assert!(readiness.has_all(1));
        assert!(!readiness.has_all(2));
        readiness.begins(12);
        readiness.ends(12);
        assert!(readiness.has_all(1));
        readiness.refuses(2, "no".to_owned());
        assert_eq!(readiness.refusal(2), Some("no"));
        readiness.forgets(2);
        assert_eq!(readiness.refusal(2), None);
        readiness.forgets(1);
        assert!(!readiness.has_all(1));
    }
}
