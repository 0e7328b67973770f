//! A problem in the form that miette draws: the few lines around it, whatever the size of the text.

use std::borrow::Cow;
use std::fmt;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};
use transom_api::Span;

use super::{Problem, Source, Sources};

/// Beside the place at fault a long line is shown so far, in bytes: a minified file is one line of megabytes.
const BESIDE: usize = 100;

/// A place is underlined so far, in bytes.
const UNDERLINED: usize = 100;

/// The longest excerpt, in bytes. Two places further apart get an excerpt each.
const LONGEST: usize = 2_000;

/// A problem with the text it is in.
pub(super) struct Shown<'r> {
    problem: &'r Problem,
    text: Option<Text<'r>>,
}

/// A source whose control characters do nothing to a terminal.
struct Text<'r> {
    source: &'r Source,
    bytes: Cow<'r, [u8]>,
}

impl<'r> Shown<'r> {
    pub(super) fn new(problem: &'r Problem, sources: &'r Sources) -> Self {
        let source = problem.span.and_then(|span| sources.source(span));
        Self {
            problem,
            text: source.map(Text::new),
        }
    }

    /// The place as miette wants it, on one line.
    fn label(&self, span: Span, text: Option<String>, primary: bool) -> Option<LabeledSpan> {
        let bytes = &self.text.as_ref()?.bytes;
        let start = to_usize(span.offset).min(bytes.len());
        let rest = bytes.get(start..start + to_usize(span.len).min(bytes.len() - start))?;
        let line = rest
            .iter()
            .position(|&byte| matches!(byte, b'\n' | b'\r'))
            .unwrap_or(rest.len());
        let len = boundary(bytes, start + line.min(UNDERLINED)) - start;
        Some(if primary {
            LabeledSpan::new_primary_with_span(text, (start, len))
        } else {
            LabeledSpan::new(text, start, len)
        })
    }
}

impl<'r> Text<'r> {
    fn new(source: &'r Source) -> Self {
        let is_harmless =
            |byte: u8| byte >= b' ' && byte != 0x7f || matches!(byte, b'\n' | b'\r' | b'\t');
        let bytes = source.text.as_bytes();
        let bytes = if bytes.iter().all(|&byte| is_harmless(byte)) {
            Cow::Borrowed(bytes)
        } else {
            let safe = |&byte: &u8| if is_harmless(byte) { byte } else { b'?' };
            Cow::Owned(bytes.iter().map(safe).collect())
        };
        Self { source, bytes }
    }

    /// Start of the line that `offset` is in.
    fn line_start(&self, offset: usize) -> usize {
        let before = self.bytes.get(..offset).unwrap_or_default();
        before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1)
    }

    /// End of the line that `offset` is in, before its break.
    fn line_end(&self, offset: usize) -> usize {
        let after = self.bytes.get(offset..).unwrap_or_default();
        let len = after.iter().position(|&byte| byte == b'\n');
        len.map_or(self.bytes.len(), |len| offset + len)
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
        if last > self.bytes.len() {
            return Err(MietteError::OutOfBounds);
        }
        let mut start = self.line_start(first);
        let mut end = self.line_end(last);
        if first - start > BESIDE || end - last > BESIDE {
            start = boundary(&self.bytes, start.max(first.saturating_sub(BESIDE)));
            end = boundary(&self.bytes, end.min(last + BESIDE));
        } else {
            for _ in 0..lines_before {
                let above = self.line_start(start.saturating_sub(1));
                if start - above > 2 * BESIDE {
                    break;
                }
                start = above;
            }
            for _ in 0..lines_after {
                let below = self.line_end((end + 1).min(self.bytes.len()));
                if below - end > 2 * BESIDE {
                    break;
                }
                end = below;
            }
        }
        let data = self.bytes.get(start..end).ok_or(MietteError::OutOfBounds)?;
        if data.len() > LONGEST {
            return Err(MietteError::OutOfBounds);
        }
        let above = self.bytes.get(..start).unwrap_or_default();
        let line = above.iter().filter(|&&byte| byte == b'\n').count();
        // miette takes the column of the contents of a bare place for that of the place itself.
        let column = if lines_before == 0 && lines_after == 0 {
            let before = self.bytes.get(self.line_start(first)..first);
            String::from_utf8_lossy(before.unwrap_or_default())
                .chars()
                .count()
        } else {
            0
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.source.name.clone(),
            data,
            SourceSpan::from((start, data.len())),
            line,
            column,
            data.iter().filter(|&&byte| byte == b'\n').count(),
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
