//! A problem in the form that miette draws: the few lines around it, whatever the size of the text.

use std::borrow::Cow;
use std::fmt;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};
use transom_api::Span;

use super::{Problem, Source, Sources};

/// Beside the place at fault a long line is shown so far, in bytes: a minified file is one line of megabytes.
const BESIDE: usize = 80;

/// A place is underlined so far, in bytes.
const UNDERLINED: usize = 100;

/// The longest excerpt, in bytes. Two places further apart get an excerpt each.
const LONGEST: usize = 2_000;

/// A problem with the text it is in.
pub(super) struct Shown<'r> {
    problem: &'r Problem,
    text: Option<Text<'r>>,
}

/// The text of a source, and where in it the places of a problem are. miette asks for nothing but what surrounds these
/// places, so that lines need not be counted from the start of a large text.
struct Text<'r> {
    name: &'r str,
    bytes: &'r [u8],
    places: Vec<Span>,
}

impl<'r> Shown<'r> {
    /// `safe` are the texts of `sources` as [`harmless`] makes them.
    pub(super) fn new(
        problem: &'r Problem,
        sources: &'r Sources,
        safe: &'r [Cow<'r, [u8]>],
    ) -> Self {
        let text = problem.span.and_then(|span| {
            let labels = problem.labels.iter().map(|label| label.span);
            let places = std::iter::once(span).chain(labels);
            Some(Text {
                name: &sources.source(span)?.name,
                bytes: safe.get(to_usize(span.source))?,
                places: places.filter(|place| place.source == span.source).collect(),
            })
        });
        Self { problem, text }
    }

    /// The place as miette wants it, on one line.
    fn label(&self, span: Span, text: Option<String>, primary: bool) -> Option<LabeledSpan> {
        let bytes = self.text.as_ref()?.bytes;
        let start = to_usize(span.offset).min(bytes.len());
        let len = to_usize(span.len).min(bytes.len() - start).min(UNDERLINED);
        let rest = bytes.get(start..start + len)?;
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let len = rest.iter().position(is_break).unwrap_or(len);
        let len = boundary(bytes, start + len) - start;
        Some(if primary {
            LabeledSpan::new_primary_with_span(text, (start, len))
        } else {
            LabeledSpan::new(text, start, len)
        })
    }
}

/// The text of a source with control characters replaced, so that it does nothing to a terminal.
pub(super) fn harmless(source: &Source) -> Cow<'_, [u8]> {
    let is_harmless =
        |byte: u8| byte >= b' ' && byte != 0x7f || matches!(byte, b'\n' | b'\r' | b'\t');
    let bytes = source.text.as_bytes();
    if bytes.iter().all(|&byte| is_harmless(byte)) {
        return Cow::Borrowed(bytes);
    }
    let safe = |&byte: &u8| if is_harmless(byte) { byte } else { b'?' };
    Cow::Owned(bytes.iter().map(safe).collect())
}

impl Text<'_> {
    /// Start of the line that `offset` is in; `None` when it is more than `within` bytes before.
    fn line_start(&self, offset: usize, within: usize) -> Option<usize> {
        let from = offset.saturating_sub(within);
        let before = self.bytes.get(from..offset)?;
        match before.iter().rposition(|&byte| byte == b'\n') {
            Some(at) => Some(from + at + 1),
            None => (from == 0).then_some(0),
        }
    }

    /// End of the line that `offset` is in, before its break; `None` when it is more than `within` bytes after.
    fn line_end(&self, offset: usize, within: usize) -> Option<usize> {
        let to = offset.saturating_add(within).min(self.bytes.len());
        let after = self.bytes.get(offset..to)?;
        match after.iter().position(|&byte| byte == b'\n') {
            Some(at) => Some(offset + at),
            None => (to == self.bytes.len()).then_some(to),
        }
    }
}

impl SourceCode for Text<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let first = span.offset();
        let last = first + span.len();
        let is_first = |place: &&Span| to_usize(place.offset).min(self.bytes.len()) == first;
        let place = self.places.iter().find(is_first);
        let place = place.ok_or(MietteError::OutOfBounds)?;
        let (start, end) = match (self.line_start(first, BESIDE), self.line_end(last, BESIDE)) {
            (Some(mut start), Some(mut end)) => {
                for _ in 0..lines_before.min(start) {
                    // Without `?`: a long line above is not shown.
                    start = self.line_start(start - 1, 2 * BESIDE).unwrap_or(start);
                }
                for _ in 0..lines_after.min(self.bytes.len() - end) {
                    end = self.line_end(end + 1, 2 * BESIDE).unwrap_or(end);
                }
                (start, end)
            }
            (start, end) => {
                let cut = |at| boundary(self.bytes, at);
                (
                    start.unwrap_or_else(|| cut(first.saturating_sub(BESIDE))),
                    end.unwrap_or_else(|| cut(last.saturating_add(BESIDE))),
                )
            }
        };
        let data = self.bytes.get(start..end).ok_or(MietteError::OutOfBounds)?;
        if data.len() > LONGEST {
            return Err(MietteError::OutOfBounds);
        }
        let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
        let above = lines(self.bytes.get(start..first).unwrap_or_default());
        // miette takes the column of the contents of a bare place for that of the place itself.
        let column = if lines_before == 0 && lines_after == 0 {
            to_usize(place.column).saturating_sub(1)
        } else {
            0
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_owned(),
            data,
            SourceSpan::from((start, data.len())),
            to_usize(place.line).saturating_sub(1 + above),
            column,
            lines(data),
        )))
    }
}

/// The nearest start of a character at or before `offset`.
fn boundary(bytes: &[u8], offset: usize) -> usize {
    let is_start = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    (0..=offset.min(bytes.len()))
        .rev()
        .find(is_start)
        .unwrap_or(0)
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.problem.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.text.as_ref()?)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span?;
        let others = self.problem.labels.iter();
        let others = others.filter(move |label| label.span.source == span.source);
        let others =
            others.filter_map(|label| self.label(label.span, Some(label.text.clone()), false));
        Some(Box::new(
            self.label(span, None, true).into_iter().chain(others),
        ))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Shown<'_> {}
