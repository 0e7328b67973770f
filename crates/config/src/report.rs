//! Everything that is wrong with a configuration, shown so that a person can mend it.

mod excerpt;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme};
use transom_api::{ParseError, Span};

use excerpt::{Shown, harmless};

/// The problems that were found in a configuration; at least one.
///
/// `Display` shows each with its line and a caret, without colour:
///
/// ```text
///   × unknown key `adress`
///    ╭─[transom.yaml:3:5]
///  2 │   - name: ingress
///  3 │     adress: 127.0.0.1:2046
///    ·     ──────
///  4 │     network_filters: []
///    ╰────
///   help: did you mean `address`? Known keys: name, address, …
/// ```
#[derive(Clone)]
pub struct Report {
    problems: Vec<Problem>,
    sources: Sources,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The place at fault; `None` when there is no text to show.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub labels: Vec<Label>,
}

/// A place that has to do with a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// In what way.
    pub text: String,
}

/// The texts that a configuration was read from. [`Span::source`] counts them.
#[derive(Clone, Default)]
pub struct Sources(Vec<Source>);

/// A text that a configuration was read from.
#[derive(Clone)]
pub struct Source {
    /// What a person knows it by: a file's path.
    pub name: String,
    /// All of it.
    pub text: Arc<str>,
}

impl Report {
    /// A report of these problems, in the order of their places. `sources` are the texts that the places refer to.
    #[must_use]
    pub fn new(mut problems: Vec<Problem>, sources: Sources) -> Self {
        problems.sort_by_key(|problem| problem.span.map(|span| (span.source, span.offset)));
        Self { problems, sources }
    }

    /// What is wrong, in the order of the places.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The text that a place is in.
    #[must_use]
    pub fn source(&self, span: Span) -> Option<&Source> {
        self.sources.source(span)
    }

    /// As text for a person; with colour only for a terminal.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        // A file of another format makes a problem of each line. More than these nobody reads.
        const SHOWN: usize = 20;
        let theme = if colour {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(100);
        let safe: Vec<_> = self.sources.iter().map(harmless).collect();
        let mut text = String::new();
        for problem in self.problems.iter().take(SHOWN) {
            if !text.is_empty() {
                text.push('\n');
            }
            let shown = Shown::new(problem, &self.sources, &safe);
            if handler.render_report(&mut text, &shown).is_err() {
                // The graphics failed half way: the bare sentence is better than nothing.
                text.push_str(&format!("\n{}\n", problem.message));
            }
        }
        match self.problems.len() {
            0 | 1 => {}
            count @ ..=SHOWN => text.push_str(&format!("\n{count} problems\n")),
            count => text.push_str(&format!(
                "\n{count} problems, the first {SHOWN} are shown\n"
            )),
        }
        text
    }

    /// As JSON for programs: `{"problems": [{"message", "help", "place": {"source", "line", "column", "offset",
    /// "length"}, "labels": [{"text", "place"}]}]}`; what is not known is `null`. Lines and columns count from 1, columns
    /// in characters, offset and length in bytes.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let place = |span: Span| {
            serde_json::json!({
                "source": self.sources.source(span).map(|source| source.name.as_str()),
                "line": span.line,
                "column": span.column,
                "offset": span.offset,
                "length": span.len,
            })
        };
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|problem| {
                let labels: Vec<_> = problem
                    .labels
                    .iter()
                    .map(
                        |label| serde_json::json!({"text": label.text, "place": place(label.span)}),
                    )
                    .collect();
                serde_json::json!({
                    "message": problem.message,
                    "help": problem.help,
                    "place": problem.span.map(place),
                    "labels": labels,
                })
            })
            .collect();
        serde_json::json!({ "problems": problems })
    }
}

impl Problem {
    /// A problem at a place.
    #[must_use]
    pub fn new(message: impl Into<String>, span: Option<Span>) -> Self {
        Self {
            message: message.into(),
            span,
            help: None,
            labels: Vec::new(),
        }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with another place that has to do with it, if the place is known.
    #[must_use]
    pub fn with_label(mut self, span: Option<Span>, text: impl Into<String>) -> Self {
        self.labels.extend(span.map(|span| Label {
            span,
            text: text.into(),
        }));
        self
    }
}

impl Sources {
    /// One text.
    #[must_use]
    pub fn one(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Self(vec![Source {
            name: name.into(),
            text: text.into(),
        }])
    }

    /// One file.
    #[must_use]
    pub fn file(path: &Path, text: impl Into<Arc<str>>) -> Self {
        Self::one(path.display().to_string(), text)
    }

    /// The text that a place is in.
    #[must_use]
    pub fn source(&self, span: Span) -> Option<&Source> {
        self.0.get(usize::try_from(span.source).ok()?)
    }

    /// The number that the next text will have.
    pub(crate) fn next(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Adds a text, and says its number.
    pub(crate) fn add(&mut self, name: &str, text: Arc<str>) -> u32 {
        let number = self.next();
        self.0.push(Source {
            name: name.to_owned(),
            text,
        });
        number
    }

    /// The number of the text of this name.
    pub(crate) fn place_of(&self, name: &str) -> Option<u32> {
        let at = self.0.iter().position(|source| source.name == name)?;
        u32::try_from(at).ok()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        Self {
            message: error.message,
            span: error.span,
            help: error.help,
            labels: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `unwrap` in a test shows this: the person wants the graphics.
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Report {}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|source| &source.name))
            .finish()
    }
}
