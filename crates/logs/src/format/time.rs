//! Moments in the form that a format asks for, always in UTC.

use std::time::{Duration, SystemTime};

use super::FormatError;
use super::number;

/// How a moment is written. Compiled from a `strftime` pattern with Envoy's additions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeFormat(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Year,
    ShortYear,
    Month,
    Day,
    DayWithSpace,
    Hour,
    Hour12,
    Minute,
    Second,
    DayOfYear,
    Half,
    MonthName,
    ShortMonthName,
    WeekdayName,
    ShortWeekdayName,
    /// Seconds since 1970.
    Epoch,
    /// So many digits of the fraction of a second.
    Fraction(u8),
    /// Whole milliseconds since 1970.
    EpochMilliseconds,
}

/// Envoy's default: ISO 8601 with milliseconds.
pub(super) const DEFAULT: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl TimeFormat {
    /// Compiles a pattern that stands at `at` of a format.
    pub(super) fn compile(pattern: &str, at: usize) -> Result<Self, FormatError> {
        let mut parts = Vec::new();
        let mut chars = pattern.char_indices();
        while let Some((offset, c)) = chars.next() {
            if c != '%' {
                literal(&mut parts, c);
                continue;
            }
            let rest = chars.as_str();
            // `%3f`, and `%E3f` of Abseil.
            let digits = rest.strip_prefix('E').unwrap_or(rest);
            if let [digit @ b'1'..=b'9', b'f', ..] = digits.as_bytes() {
                parts.push(Part::Fraction(digit - b'0'));
                let taken = rest.len() - digits.len() + 2;
                chars.nth(taken - 1);
                continue;
            }
            let Some((_, code)) = chars.next() else {
                return Err(FormatError::new(
                    at + offset,
                    "the time format ends in a lone `%`",
                ));
            };
            match code {
                '%' => literal(&mut parts, '%'),
                'n' => literal(&mut parts, '\n'),
                't' => literal(&mut parts, '\t'),
                'z' => parts.push(Part::Literal("+0000".to_owned())),
                'Z' => parts.push(Part::Literal("UTC".to_owned())),
                'F' => parts.extend(Self::compile("%Y-%m-%d", at)?.0),
                'T' => parts.extend(Self::compile("%H:%M:%S", at)?.0),
                'R' => parts.extend(Self::compile("%H:%M", at)?.0),
                'D' => parts.extend(Self::compile("%m/%d/%y", at)?.0),
                'Y' => parts.push(Part::Year),
                'y' => parts.push(Part::ShortYear),
                'm' => parts.push(Part::Month),
                'd' => parts.push(Part::Day),
                'e' => parts.push(Part::DayWithSpace),
                'H' => parts.push(Part::Hour),
                'I' => parts.push(Part::Hour12),
                'M' => parts.push(Part::Minute),
                'S' => parts.push(Part::Second),
                'j' => parts.push(Part::DayOfYear),
                'p' => parts.push(Part::Half),
                'B' => parts.push(Part::MonthName),
                'b' | 'h' => parts.push(Part::ShortMonthName),
                'A' => parts.push(Part::WeekdayName),
                'a' => parts.push(Part::ShortWeekdayName),
                's' => parts.push(Part::Epoch),
                'f' => parts.push(Part::Fraction(9)),
                code => {
                    return Err(FormatError::new(
                        at + offset,
                        format!("unknown part `%{code}` of a time format"),
                    )
                    .with_help(
                        "known are strftime's Y y m d e H I M S j p B b h A a s F T R D z Z n t and %, and f, 1f to 9f for fractions of a second",
                    ));
                }
            }
        }
        if parts == [Part::Epoch, Part::Fraction(3)] {
            parts = vec![Part::EpochMilliseconds];
        }
        Ok(Self(parts))
    }

    /// Whether it is a whole number, which JSON can take as one.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.0.as_slice(), [Part::Epoch | Part::EpochMilliseconds])
    }

    pub(super) fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        // A clock before 1970 is broken, and then any moment is as good.
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let seconds = since.as_secs();
        let date = Date::of(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        let name = |names: &'static [&'static str], index: u64| -> &'static str {
            names.get(index as usize).copied().unwrap_or_default()
        };
        let short = |name: &'static str| name.get(..3).unwrap_or(name);
        for part in &self.0 {
            let text = match part {
                Part::Literal(text) => text.as_str(),
                Part::Year => {
                    number::padded(date.year, 4, out);
                    continue;
                }
                Part::ShortYear => {
                    number::padded(date.year % 100, 2, out);
                    continue;
                }
                Part::Month => {
                    number::padded(date.month, 2, out);
                    continue;
                }
                Part::Day => {
                    number::padded(date.day, 2, out);
                    continue;
                }
                Part::DayWithSpace => {
                    if date.day < 10 {
                        out.push(b' ');
                    }
                    number::write(date.day, out);
                    continue;
                }
                Part::Hour => {
                    number::padded(hour, 2, out);
                    continue;
                }
                Part::Hour12 => {
                    number::padded((hour + 11) % 12 + 1, 2, out);
                    continue;
                }
                Part::Minute => {
                    number::padded(minute, 2, out);
                    continue;
                }
                Part::Second => {
                    number::padded(second, 2, out);
                    continue;
                }
                Part::DayOfYear => {
                    number::padded(date.day_of_year, 3, out);
                    continue;
                }
                Part::Epoch => {
                    number::write(seconds, out);
                    continue;
                }
                Part::EpochMilliseconds => {
                    number::write(seconds, out);
                    number::padded(u64::from(since.subsec_millis()), 3, out);
                    continue;
                }
                Part::Fraction(digits) => {
                    let unit = 10_u32.pow(9 - u32::from(*digits));
                    let fraction = u64::from(since.subsec_nanos() / unit);
                    number::padded(fraction, usize::from(*digits), out);
                    continue;
                }
                Part::Half if hour < 12 => "AM",
                Part::Half => "PM",
                Part::MonthName => name(&MONTHS, date.month - 1),
                Part::ShortMonthName => short(name(&MONTHS, date.month - 1)),
                Part::WeekdayName => name(&WEEKDAYS, date.weekday),
                Part::ShortWeekdayName => short(name(&WEEKDAYS, date.weekday)),
            };
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn literal(parts: &mut Vec<Part>, c: char) {
    match parts.last_mut() {
        Some(Part::Literal(text)) => text.push(c),
        _ => parts.push(Part::Literal(c.to_string())),
    }
}

/// A day of the Gregorian calendar.
struct Date {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// From Sunday, which is 0.
    weekday: u64,
}

impl Date {
    /// The date of a day counted from 1970-01-01: Hinnant's `civil_from_days`, for days that are not before it.
    fn of(days: u64) -> Self {
        // Eras of 400 years begin on a first of March, so that the leap day is the last of its year.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = day_from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let is_leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let day_of_year = if month <= 2 {
            day_from_march - 306 + 1
        } else {
            day_from_march + 60 + u64::from(is_leap)
        };
        Self {
            year,
            month,
            day,
            day_of_year,
            weekday: (days + 4) % 7,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pattern: &str, seconds: u64, nanos: u32) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        let mut out = Vec::new();
        TimeFormat::compile(pattern, 0)
            .unwrap()
            .write(time, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_are_written_as_date_writes_them() {
        // By `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 Thu January 001 12 AM"),
            (951_782_400, "2000-02-29 00:00:00 Tue February 060 12 AM"),
            (951_868_799, "2000-02-29 23:59:59 Tue February 060 11 PM"),
            (978_220_800, "2000-12-31 00:00:00 Sun December 366 12 AM"),
            (1_709_210_096, "2024-02-29 12:34:56 Thu February 060 12 PM"),
            (1_741_000_000, "2025-03-03 11:06:40 Mon March 062 11 AM"),
            (4_107_542_399, "2100-02-28 23:59:59 Sun February 059 11 PM"),
            (4_107_542_400, "2100-03-01 00:00:00 Mon March 060 12 AM"),
        ] {
            assert_eq!(written("%F %T %a %B %j %I %p", seconds, 0), expected);
        }
    }

    #[test]
    fn fractions_have_the_digits_that_were_asked_for() {
        for (pattern, expected) in [
            ("%s.%3f", "1700000000.001"),
            ("%s.%6f", "1700000000.001002"),
            ("%s.%f", "1700000000.001002003"),
            ("%E3f|%1f", "001|0"),
            ("%s%3f", "1700000000001"),
            (DEFAULT, "2023-11-14T22:13:20.001Z"),
            ("%e %b %y %z %Z %%", "14 Nov 23 +0000 UTC %"),
            ("[%d/%b/%Y:%H:%M:%S %z]", "[14/Nov/2023:22:13:20 +0000]"),
        ] {
            assert_eq!(written(pattern, 1_700_000_000, 1_002_003), expected);
        }
    }

    #[test]
    fn what_is_no_part_of_a_time_is_refused_at_its_place() {
        let error = TimeFormat::compile("%Y %Q", 10).unwrap_err();
        assert_eq!(
            (error.at, &*error.message),
            (13, "unknown part `%Q` of a time format")
        );
        assert!(TimeFormat::compile("%Y-%", 0).is_err());
    }
}
