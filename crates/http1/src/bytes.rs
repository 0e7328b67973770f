//! Which bytes may stand where.

/// The first byte that may not stand in a token (RFC 9110 section 5.6.2).
#[inline]
pub(crate) fn not_token(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|&byte| !is(byte, TOKEN))
}

/// Whether `bytes` is a token: not empty, and no byte that may not stand in one.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    // No early way out: tokens are short and nearly always good, so the looks need not wait for one another.
    let good = bytes
        .iter()
        .fold(true, |good, &byte| good & is(byte, TOKEN));
    good & !bytes.is_empty()
}

/// The first byte that may not stand in a field's value or a reason phrase: a control byte other than HTAB
/// (RFC 9110 section 5.5).
#[inline]
pub(crate) fn not_text(bytes: &[u8]) -> Option<u8> {
    // Eight at once; the culprit is looked for only if there may be one. Values are often shorter than a vector.
    let (words, rest) = bytes.as_chunks::<8>();
    let suspect = words
        .iter()
        .fold(false, |found, word| found | may_have_control(*word));
    let suspect = rest
        .iter()
        .fold(suspect, |found, &byte| found | is_control(byte));
    if suspect { find_control(bytes) } else { None }
}

/// Whether one of eight bytes is below 0x20 (HTAB too), or DEL. The sums cannot carry from byte to byte: they are of seven
/// bits each, and the eighth says what a byte of its own had there.
#[inline]
fn may_have_control(word: [u8; 8]) -> bool {
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const LOW: u64 = !HIGH;
    let word = u64::from_ne_bytes(word);
    let low = word & LOW;
    // The high bit is set where the low seven bits are 0x20 or more, and where they are 0x7f.
    let no_control = low + u64::from_ne_bytes([0x60; 8]);
    let del = low + u64::from_ne_bytes([0x01; 8]);
    (!no_control | del) & !word & HIGH != 0
}

/// What a look at a request target tells.
#[derive(Clone, Copy)]
pub(crate) struct TargetBytes {
    /// Nothing but visible ASCII without `#`.
    pub(crate) clean: bool,
    /// There is a `%`.
    pub(crate) escapes: bool,
}

/// Looks at all bytes of a request target at once.
#[inline]
pub(crate) fn target_bytes(target: &[u8]) -> TargetBytes {
    let (mut foul, mut escapes) = (false, false);
    for &byte in target {
        foul |= !is_target(byte);
        escapes |= byte == b'%';
    }
    TargetBytes {
        clean: !foul,
        escapes,
    }
}

/// The first byte that may not stand in a request target.
pub(crate) fn not_target(target: &[u8]) -> Option<u8> {
    target.iter().copied().find(|&byte| !is_target(byte))
}

/// How many bytes at the beginning may stand in a host name or an IPv4 address. The grammar also has percent escapes and
/// commas (RFC 3986 section 3.2.2); nobody needs them, and not all read them alike.
#[inline]
pub(crate) fn host_name_length(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|&byte| !is(byte, HOST));
    end.unwrap_or(bytes.len())
}

/// Takes the blanks (OWS, RFC 9110 section 5.6.3) from both ends.
#[inline]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The value of a non-empty string of digits, if it is below 2^63: above, peers disagree on the sign.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(byte - b'0'))
            .filter(|&value| i64::try_from(value).is_ok())?;
    }
    Some(value)
}

#[inline]
fn is_control(byte: u8) -> bool {
    ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f)
}

#[cold]
fn find_control(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|&byte| is_control(byte))
}

#[inline]
fn is_target(byte: u8) -> bool {
    (byte > 0x20) & (byte < 0x7f) & (byte != b'#')
}

const TOKEN: u8 = 1;
const HOST: u8 = 2;

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASSES
        .get(usize::from(byte))
        .is_some_and(|classes| classes & class != 0)
}

static CLASSES: [u8; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would refuse a bad index"
)]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() {
            table[byte] = TOKEN | HOST;
        }
        byte += 1;
    }
    mark(table, b"!#$%&'*+-.^_`|~", TOKEN, b"-._~!$&'()*+;=", HOST)
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would refuse a bad index"
)]
const fn mark(
    mut table: [u8; 256],
    token: &[u8],
    token_class: u8,
    host: &[u8],
    host_class: u8,
) -> [u8; 256] {
    let mut at = 0;
    while at < token.len() {
        table[token[at] as usize] |= token_class;
        at += 1;
    }
    let mut at = 0;
    while at < host.len() {
        table[host[at] as usize] |= host_class;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_classes() {
        for byte in 0..=u8::MAX {
            let c = char::from(byte);
            let token = c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            assert_eq!(is_token(&[byte]), token, "{byte}");
            assert_eq!(not_token(&[byte]).is_none(), token, "{byte}");
            let text = byte == 9 || (byte >= 32 && byte != 127);
            assert_eq!(not_text(&[byte]).is_none(), text, "{byte}");
            for (place, neighbour) in (0..19).flat_map(|place| [(place, b'a'), (place, 0xff)]) {
                let mut long = [neighbour; 19];
                long[place] = byte;
                assert_eq!(not_text(&long), (!text).then_some(byte), "{byte} {place}");
            }
            let target = byte > 32 && byte < 127 && byte != b'#';
            assert_eq!(target_bytes(&[byte]).clean, target, "{byte}");
            assert_eq!(not_target(&[byte]).is_none(), target, "{byte}");
            let host = c.is_ascii_alphanumeric() || "-._~!$&'()*+;=".contains(c);
            assert_eq!(host_name_length(&[byte]) == 1, host, "{byte}");
        }
    }

    #[test]
    fn decimal_takes_digits_below_two_to_the_63() {
        for (digits, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("18446744073709551621", None),
            ("", None),
            ("+5", None),
            ("5 ", None),
            ("0x5", None),
        ] {
            assert_eq!(decimal(digits.as_bytes()), value, "{digits}");
        }
    }
}
