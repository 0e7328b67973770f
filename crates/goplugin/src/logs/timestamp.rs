//! hclog's time stamps: RFC 3339 with exactly six digits of fraction.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time now, in UTC.
pub(crate) fn now() -> String {
    format(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn format(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = since_epoch.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The Gregorian date of a day since 1970-01-01: years counted from March, so that the leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Whether `text` has the one form that Go's host reads: `2006-01-02T15:04:05.000000` and `Z` or `±hh:mm`.
pub(super) fn is_valid(text: &str) -> bool {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd.dddddd";
    let fits = |form: &[u8], part: &[u8]| {
        form.len() == part.len()
            && form.iter().zip(part).all(|(form, byte)| match form {
                b'd' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                _ => form == byte,
            })
    };
    let Some((time, zone)) = text.as_bytes().split_at_checked(FORM.len()) else {
        return false;
    };
    fits(FORM, time) && (zone == b"Z" || fits(b"+dd:dd", zone)) && in_range(text)
}

/// Whether the fields of a well-formed stamp are a date and a time.
fn in_range(text: &str) -> bool {
    let number = |from: usize, to: usize| -> u32 {
        text.get(from..to)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(u32::MAX)
    };
    let year = number(0, 4);
    let days = match number(5, 7) {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&number(8, 10))
        && number(11, 13) < 24
        && number(14, 16) < 60
        && number(17, 19) < 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_as_the_calendar_does() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000000Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(format(Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            format(Duration::from_micros(1_000_001)),
            "1970-01-01T00:00:01.000001Z"
        );
        assert!(is_valid(&now()));
    }

    #[test]
    fn six_digits_are_read_and_no_other_number() {
        for text in [
            "2024-05-01T10:20:30.123456Z",
            "2024-05-01T10:20:30.123456+02:00",
        ] {
            assert!(is_valid(text), "{text}");
        }
        for text in [
            "",
            "2024-05-01T10:20:30Z",
            "2024-05-01T10:20:30.123Z",
            "2024-05-01T10:20:30.123456789Z",
            "2024-05-01T10:20:30.123456",
            "2024-13-01T10:20:30.123456Z",
            "2023-02-29T10:20:30.123456Z",
            "2024-05-01T24:20:30.123456Z",
        ] {
            assert!(!is_valid(text), "{text}");
        }
    }
}
