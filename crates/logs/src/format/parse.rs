//! Reading formats: `text %OPERATOR(parameters):length% text`.

use super::named;
use super::operator::Operator;
use super::{FormatError, Limit};

/// A part of a format.
#[derive(Debug)]
pub(super) enum Part {
    Literal(String),
    Operator(Operator, Limit),
}

/// Cuts a format into its parts. `%%` is a percent sign.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, FormatError> {
    let mut parts = Vec::new();
    let mut rest = text;
    let place = |rest: &str| text.len() - rest.len();
    while let Some((before, from)) = rest.split_once('%') {
        literal(&mut parts, before);
        let at = place(from) - 1;
        if let Some(after) = from.strip_prefix('%') {
            literal(&mut parts, "%");
            rest = after;
            continue;
        }
        let end = from
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        if name.is_empty() {
            return Err(FormatError::new(at, "a lone `%`").with_help(
                "write `%%` for a percent sign, and operators as %NAME%, %NAME(parameters)% or %NAME(parameters):length%",
            ));
        }
        let (parameters, after) = match after.strip_prefix('(') {
            Some(inner) => {
                let (parameters, after) = parameters(inner).ok_or_else(|| {
                    FormatError::new(at, format!("the parameters of `%{name}` do not end"))
                        .with_help(format!("close them: %{name}(…)%"))
                })?;
                (Some(parameters), after)
            }
            None => (None, after),
        };
        let (limit, after) = match after.strip_prefix(':') {
            Some(after) => {
                let end = after
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(after.len());
                let (digits, after_digits) = after.split_at(end);
                let limit = digits.parse::<usize>().map_err(|_| {
                    FormatError::new(
                        place(after),
                        format!("the length of `%{name}` must be a number of bytes"),
                    )
                })?;
                (Some(limit), after_digits)
            }
            None => (None, after),
        };
        let Some(after) = after.strip_prefix('%') else {
            return Err(
                FormatError::new(at, format!("the operator `%{name}` does not end"))
                    .with_help(format!("write `%{name}%`, or `%%` for a percent sign")),
            );
        };
        parts.push(Part::Operator(named::find(name, parameters, at)?, limit));
        rest = after;
    }
    literal(&mut parts, rest);
    Ok(parts)
}

/// What stands up to the parenthesis that ends the operator, and what comes after it. Parameters may have
/// parentheses and percent signs of their own, as times do.
fn parameters(inner: &str) -> Option<(&str, &str)> {
    inner.match_indices(')').find_map(|(at, _)| {
        let (parameters, after) = (inner.get(..at)?, inner.get(at + 1..)?);
        let behind = match after.strip_prefix(':') {
            Some(length) => length.trim_start_matches(|c: char| c.is_ascii_digit()),
            None => after,
        };
        behind.starts_with('%').then_some((parameters, after))
    })
}

fn literal(parts: &mut Vec<Part>, text: &str) {
    if text.is_empty() {
        return;
    }
    match parts.last_mut() {
        Some(Part::Literal(before)) => before.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}
