//! Where the levels of reading put what they find wrong.

use transom_api::Span;
use transom_api::node::known;
use transom_api::suggest::nearest;

use crate::report::Problem;

/// Collects problems. A reader that finds one goes on as well as it can, so that one run shows all.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    /// How many names mistyped ones were compared with.
    compared: usize,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: impl Into<Problem>) {
        // A file of another format makes a problem of every entry; keeping them all would cost what it is worth to
        // nobody.
        const KEPT: usize = 1_000;
        if self.found.len() < KEPT {
            self.found.push(problem.into());
        }
    }

    /// The problem of a name given twice: shown at the second place, with the first beside it.
    pub(crate) fn twice(&mut self, message: String, first: Option<Span>, second: Option<Span>) {
        self.push(Problem::new(message, second).with_label(first, "first here"));
    }

    /// The remedy for a name that is not among `names`: the nearest of them, and all of them if they are few.
    pub(crate) fn known(&mut self, name: &str, what: &str, names: &[&str]) -> String {
        const FEW: usize = 20;
        // Comparing with 100,000 names takes a tenth of a second.
        const COMPARED: usize = 100_000;
        if names.len() <= FEW {
            return known(name, what, names);
        }
        self.compared = self.compared.saturating_add(names.len());
        let near = if self.compared <= COMPARED {
            nearest(name, names.iter().copied())
        } else {
            None
        };
        match near {
            Some(near) => format!(
                "did you mean `{near}`? It is one of {} known {what}",
                names.len()
            ),
            None => format!("none of {} known {what} is named so", names.len()),
        }
    }

    /// Whether a problem lies within `span`. What is missing there was then most likely meant by what is wrong.
    pub(crate) fn any_within(&self, span: Option<Span>) -> bool {
        let Some(outer) = span else { return false };
        let end = |span: Span| span.offset.saturating_add(span.len);
        self.found
            .iter()
            .filter_map(|problem| problem.span)
            .any(|span| {
                span.source == outer.source
                    && outer.offset <= span.offset
                    && end(span) <= end(outer)
            })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.found
    }
}
