//! Formats of access logs: text with operators, or a JSON object of such texts.
//!
//! A format is compiled when the configuration is loaded, into one flat list of steps; writing a line walks the list
//! once, into a buffer that is there already. Operators are Envoy's, in name and meaning ("Access logging" in its
//! documentation), and a few of our own.

mod escape;
mod json;
mod named;
mod number;
mod operator;
mod parse;
mod time;
mod trace;
mod value;

use transom_api::{Node, Record};

use self::operator::{Line, Operator};

/// Envoy's default format: the same fields in the same order. What its upstream tells of its own time, Transom measures.
pub const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %COMMON_DURATION(DS_RX_END:US_RX_BEG:ms)% \
    \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"";

/// A compiled format.
#[derive(Debug)]
pub struct Format {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    /// Bytes of the format itself.
    Literal(Box<[u8]>),
    /// A value, escaped for a text line; `-` for none.
    Text(Operator, Limit),
    /// A value inside a JSON string; `-` for none.
    JsonPart(Operator, Limit),
    /// A whole JSON value; `null` for none.
    JsonValue(Operator, Limit),
}

/// The most bytes of a value that are written.
type Limit = Option<usize>;

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// Bytes of the text before the mistake.
    pub at: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Format {
    /// Compiles a text; lines end where it ends.
    pub fn text(text: &str) -> Result<Self, FormatError> {
        let mut steps = Vec::new();
        for part in parse::parts(text)? {
            steps.push(match part {
                parse::Part::Literal(text) => Step::Literal(text.into_bytes().into()),
                parse::Part::Operator(operator, limit) => Step::Text(operator, limit),
            });
        }
        Ok(Self {
            steps: joined(steps),
        })
    }

    /// Compiles a map whose texts may have operators: a line of JSON. A text that is one operator becomes a value of its
    /// own kind (a number, `null`), any other a string.
    pub fn json(map: &Node) -> Result<Self, transom_api::ParseError> {
        map.as_entries()?;
        let mut steps = Vec::new();
        json::steps(map, &mut steps)?;
        Ok(Self {
            steps: joined(steps),
        })
    }

    /// The same with something before each line.
    #[must_use]
    pub fn after(mut self, mut before: Self) -> Self {
        before.steps.append(&mut self.steps);
        Self {
            steps: joined(before.steps),
        }
    }

    /// The same with the end of a line behind it, unless it has one.
    #[must_use]
    pub fn line(mut self) -> Self {
        if !matches!(self.steps.last(), Some(Step::Literal(text)) if text.ends_with(b"\n")) {
            self.steps.push(Step::Literal(b"\n".as_slice().into()));
        }
        Self {
            steps: joined(self.steps),
        }
    }

    /// Appends the line of a record.
    pub fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let line = Line::new(record);
        for step in &self.steps {
            match step {
                Step::Literal(bytes) => out.extend_from_slice(bytes),
                Step::Text(operator, limit) => operator.value(&line).text(*limit, out),
                Step::JsonPart(operator, limit) => operator.value(&line).json_part(*limit, out),
                Step::JsonValue(operator, limit) => operator.value(&line).json(*limit, out),
            }
        }
    }
}

/// Makes one step of literals that follow each other.
fn joined(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        match (joined.last_mut(), step) {
            (Some(Step::Literal(before)), Step::Literal(text)) => {
                *before = [before.as_ref(), text.as_ref()].concat().into();
            }
            (_, step) => joined.push(step),
        }
    }
    joined
}

impl FormatError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            help: None,
        }
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The error at the node that holds the text.
    pub(crate) fn in_node(self, node: &Node, text: &str) -> transom_api::ParseError {
        let before = text.get(..self.at).unwrap_or(text);
        let line = before.matches('\n').count();
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        let place = match line {
            0 => format!("at character {column} of the format"),
            line => format!("at character {column} of the format's line {}", line + 1),
        };
        let error = node.error(format!("{} {place}", self.message));
        match self.help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests;
