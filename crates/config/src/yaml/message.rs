//! Broken YAML, told to a person who writes configuration, not YAML parsers.

use granit_parser::ErrorKind;
use transom_api::Span;

use crate::report::Problem;

use super::DEEPEST;

pub(super) fn problem(kind: &ErrorKind, span: Option<Span>, text: &str) -> Problem {
    let found = Problem::new(message(kind), span);
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
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => "a tab where YAML allows only spaces".to_owned(),
        ErrorKind::InvalidIndentation
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::InvalidQuotedScalarIndent
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
        ErrorKind::MappingValueNotAllowed => "a second `:` in one line".to_owned(),
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
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => "replace the tab by spaces",
        ErrorKind::MappingValueNotAllowed => {
            "put text that has a colon and a space in quotes, or begin a new line for a new key"
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
        _ => return None,
    })
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
