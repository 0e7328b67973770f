//! Durations and sizes as they are written in configuration: `100ms`, `5s`, `64KiB`.

use std::fmt;
use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    text: String,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Duration,
    Size,
}

/// Reads a duration: a number (a fraction is allowed) and one of `ms`, `s`, `m`, `h`.
///
/// ```
/// # use std::time::Duration;
/// # use transom_api::units::parse_duration;
/// assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
/// assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
/// assert!(parse_duration("5").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let refused = || UnitError {
        text: text.to_owned(),
        wanted: Wanted::Duration,
    };
    let (number, unit) = split(text).ok_or_else(refused)?;
    let milliseconds = match unit {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return Err(refused()),
    };
    // A hundred years: more is a mistake, and sums with the clock must not overflow.
    const LONGEST_MS: f64 = 100.0 * 366.0 * 86_400_000.0;
    let value = number * milliseconds;
    if value > LONGEST_MS {
        return Err(refused());
    }
    Ok(Duration::from_micros((value * 1_000.0).round() as u64))
}

/// Reads a size in bytes: a whole number, or a number and one of `B`, `KiB`, `MiB`, `GiB` (powers of 1024).
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let refused = || UnitError {
        text: text.to_owned(),
        wanted: Wanted::Size,
    };
    if let Ok(bytes) = text.parse::<u64>() {
        return Ok(bytes);
    }
    let (number, unit) = split(text).ok_or_else(refused)?;
    let factor = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return Err(refused()),
    };
    let value = number * factor;
    // Beyond 2^53 a float no longer counts single bytes.
    if value > 9_007_199_254_740_992.0 || value.fract() != 0.0 {
        return Err(refused());
    }
    Ok(value as u64)
}

/// Writes a duration in the form that [`parse_duration`] reads.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1_000.0;
    for (unit, size) in [("h", 3_600_000.0), ("m", 60_000.0), ("s", 1_000.0)] {
        if ms >= size && (ms / size).fract() == 0.0 {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

/// Splits `12.5MiB` into its number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

impl UnitError {
    /// How such a value is written.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self.wanted {
            Wanted::Duration => "write a number and its unit: 100ms, 5s, 1m, 2h",
            Wanted::Size => "write a number of bytes or a number and its unit: 64KiB, 10MiB",
        }
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = match self.wanted {
            Wanted::Duration => "duration",
            Wanted::Size => "size",
        };
        write!(f, "{:?} is no {wanted}", self.text)
    }
}

impl std::error::Error for UnitError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [
            ("0ms", 0),
            ("250ms", 250),
            ("1s", 1_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
        ] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(
                parse_duration(&format_duration(duration)),
                Ok(duration),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1 fortnight",
            "1..2s",
            "1e9h",
            "99999999999999h",
            "∞s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("10"), Ok(10));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1.5KiB"), Ok(1_536));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        for text in ["", "KiB", "1kb", "0.3B", "-1", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
