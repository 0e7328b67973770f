//! Where the levels of reading put what they find wrong.

use transom_api::Span;

use crate::report::Problem;

/// Collects problems. A reader that finds one goes on as well as it can, so that one run shows all.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn push(&mut self, problem: impl Into<Problem>) {
        // A file of another format makes a problem of every entry; keeping them all would cost what it is worth to
        // nobody.
        const KEPT: usize = 1_000;
        if self.0.len() < KEPT {
            self.0.push(problem.into());
        }
    }

    /// The problem of a name given twice: shown at the second place, with the first beside it.
    pub(crate) fn twice(&mut self, message: String, first: Option<Span>, second: Option<Span>) {
        self.push(Problem::new(message, second).with_label(first, "first here"));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}
