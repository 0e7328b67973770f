//! Broken YAML, told to a person who writes configuration, not YAML parsers.

use granit_parser::ErrorKind;
use transom_api::Span;

use crate::report::Problem;

use super::DEEPEST;

pub(super) fn problem(kind: &ErrorKind, span: Option<Span>, text: &str) -> Problem {
    let found = if is_tab(kind) {
        Problem::new(
            "a tab where YAML allows only spaces",
            span.map(|span| tab(span, text)),
        )
    } else {
        Problem::new(message(kind), span)
    };
    match help(kind).or_else(|| tab_help(span, text)) {
        Some(help) => found.with_help(help),
        None => found,
    }
}

fn message(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::UnclosedQuotedScalar => "a quote is opened here and not closed".to_owned(),
        ErrorKind::UnclosedFlowCollection { open } => format!("`{open}` is opened and not closed"),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            format!("`{open}` is closed by `{close}`")
        }
        ErrorKind::MisplacedFlowCollectionEnd => "this bracket closes nothing".to_owned(),
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => "the file ends within brackets".to_owned(),
        ErrorKind::UnexpectedEof
        | ErrorKind::UnexpectedEofBlockMapping
        | ErrorKind::UnexpectedEofBlockSequence => "the file ends in the middle".to_owned(),
        ErrorKind::InvalidQuotedScalarIndent => {
            "a text in quotes that began above goes on here, without indentation".to_owned()
        }
        ErrorKind::InvalidColonPlacement => "a `:` has no place here".to_owned(),
        ErrorKind::InvalidIndentation
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::InvalidFlowScalarIndent => {
            "the indentation of this line fits no line above".to_owned()
        }
        ErrorKind::ExpectedBlockMappingKey => {
            "expected another key of the map here, or less indentation".to_owned()
        }
        ErrorKind::ExpectedBlockSequenceEntry => {
            "expected another `-` of the list here, or less indentation".to_owned()
        }
        ErrorKind::ExpectedFlowMappingSeparator => "expected `,` or `}` here".to_owned(),
        ErrorKind::ExpectedFlowSequenceSeparator => "expected `,` or `]` here".to_owned(),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            "expected `key: value`, found text without a colon".to_owned()
        }
        ErrorKind::MappingValueNotAllowed => "a `:` has no place here".to_owned(),
        ErrorKind::BlockSequenceEntryNotAllowed => "a list cannot begin here".to_owned(),
        ErrorKind::UnknownAnchor => "no anchor of this name stands above".to_owned(),
        ErrorKind::RecursionLimitExceeded => {
            format!("lists and maps are nested deeper than {DEEPEST} levels")
        }
        ErrorKind::DirectiveDisallowed => "a directive (`%`) has no place here".to_owned(),
        ErrorKind::UnexpectedCharacter { character } => {
            format!("the character {character:?} cannot stand here")
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            "an unknown escape in text in double quotes".to_owned()
        }
        other => format!("this is no YAML: {other}"),
    }
}

fn help(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        kind if is_tab(kind) => "replace the tab by spaces",
        ErrorKind::InvalidQuotedScalarIndent => {
            "close the quote, or indent this line more than the key"
        }
        ErrorKind::InvalidColonPlacement => "is a bracket above not closed?",
        ErrorKind::MappingValueNotAllowed => {
            "begin a new line for a new key, and put text that has a colon in quotes; is a `:` missing above?"
        }
        ErrorKind::BlockSequenceEntryNotAllowed => {
            "put the list on lines of its own below the key, or in brackets: [a, b]"
        }
        ErrorKind::UnexpectedCharacter { .. } => {
            "put text that begins with one of @ ` % & * ! | > [ ] { } in quotes"
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            r"write \\ for a backslash, or use single quotes, in which it is no escape"
        }
        ErrorKind::UnknownAnchor => "anchors are written &name and must stand before their aliases",
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation => {
            "keys of one map, and the `-` of one list, begin in the same column"
        }
        _ => return None,
    })
}

fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    )
}

/// The place of the next tab: the parser tells where the text before it began.
fn tab(span: Span, text: &str) -> Span {
    // The tab is in this line or the next one.
    const NEAR: usize = 1_000;
    let start = usize::try_from(span.offset).unwrap_or(usize::MAX);
    let mut found = Span { len: 1, ..span };
    for c in text.get(start..).unwrap_or_default().chars().take(NEAR) {
        match c {
            '\t' => return found,
            '\n' => {
                found.line += 1;
                found.column = 0;
            }
            _ => {}
        }
        found.column += 1;
        found.offset += u32::try_from(c.len_utf8()).unwrap_or_default();
    }
    span
}

/// Several mistakes come from a tab that a parser notices only later.
fn tab_help(span: Option<Span>, text: &str) -> Option<&'static str> {
    let line = usize::try_from(span?.line).ok()?.checked_sub(1)?;
    let line = text.lines().nth(line)?;
    let indentation = line.split(|c: char| !c.is_whitespace()).next()?;
    indentation
        .contains('\t')
        .then_some("this line is indented by a tab: replace it by spaces")
}
