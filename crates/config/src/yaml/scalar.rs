//! What a scalar means: the core schema of YAML 1.2, section 10.3.2.

use transom_api::NodeKind;

use crate::report::Problem;

/// The value of a scalar without quotes.
pub(super) fn plain(text: &str) -> Result<NodeKind, Problem> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(NodeKind::Null),
        "true" | "True" | "TRUE" => return Ok(NodeKind::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(NodeKind::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(not_finite(text));
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Ok(NodeKind::String(text.to_owned()));
    }
    if let Some(value) = integer(text) {
        return Ok(NodeKind::Integer(value));
    }
    if is_float(unsigned) {
        return match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(NodeKind::Float(value)),
            _ => Err(not_finite(text)),
        };
    }
    Ok(NodeKind::String(text.to_owned()))
}

/// The value of a scalar that says its type: `!!int "5"`.
pub(super) fn tagged(text: &str, suffix: &str) -> Result<NodeKind, Problem> {
    let kind = plain(text)?;
    match (suffix, &kind) {
        ("null", NodeKind::Null)
        | ("bool", NodeKind::Bool(_))
        | ("int", NodeKind::Integer(_))
        | ("float", NodeKind::Float(_)) => Ok(kind),
        ("float", NodeKind::Integer(value)) => Ok(NodeKind::Float(*value as f64)),
        _ => Err(Problem::new(
            format!("this is no value of the tag `!!{suffix}`"),
            None,
        )),
    }
}

fn integer(text: &str) -> Option<i128> {
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value = digits(unsigned, 10)?;
    Some(if text.starts_with('-') { -value } else { value })
}

fn digits(text: &str, radix: u32) -> Option<i128> {
    let all = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    all.then(|| i128::from_str_radix(text, radix).ok())
        .flatten()
}

/// Digits with a point before, among or after them, and perhaps an exponent.
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && is_digits(digits)
    });
    is_digits(whole) && is_digits(fraction) && whole.len() + fraction.len() > 0 && exponent_fits
}

fn not_finite(text: &str) -> Problem {
    let shown: String = text.chars().take(40).collect();
    Problem::new(
        format!("{shown} is no number that a configuration can hold"),
        None,
    )
    .with_help("put it in quotes if it is meant as text")
}
