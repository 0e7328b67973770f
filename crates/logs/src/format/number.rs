//! Whole numbers in decimal, without the machinery of `fmt`.

/// Appends a number.
pub(super) fn write(number: u64, out: &mut Vec<u8>) {
    padded(number, 1, out);
}

/// Appends a number with zeros before it, `width` digits at least and up to 20.
pub(super) fn padded(mut number: u64, width: usize, out: &mut Vec<u8>) {
    // `u64::MAX` has 20 digits.
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        if number == 0 {
            break;
        }
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        first = index;
    }
    let first = first.min(digits.len().saturating_sub(width));
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for (number, width, expected) in [
            (0, 1, "0"),
            (0, 2, "00"),
            (7, 3, "007"),
            (1234, 2, "1234"),
            (u64::MAX, 1, "18446744073709551615"),
        ] {
            let mut out = Vec::new();
            padded(number, width, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
