//! Writing bytes of strangers so that they stay what they are: a part of one line, or of one JSON string.

/// Appends `bytes` to a line of text. What could end the line or the quotes around a value, steer a terminal, or is no
/// ASCII is written as `\xHH`, as nginx does by default: a client cannot forge a line or a field.
pub(super) fn text(bytes: &[u8], out: &mut Vec<u8>) {
    pass(bytes, &TEXT, out, |byte, out| {
        out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(byte & 15)]);
    });
}

/// Appends `bytes` to the inside of a JSON string (RFC 8259 section 7). Bytes that are no UTF-8 become U+FFFD, one for
/// each maximal part, as the Unicode standard recommends (section 3.9); control characters beyond ASCII's and the line
/// ends of JavaScript are escaped.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_ascii() {
        return json_ascii(bytes, out);
    }
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) =
            rest.find(|c| matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}'))
        {
            let (before, from) = rest.split_at(at);
            json_ascii(before.as_bytes(), out);
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                unicode(c as u32, out);
            }
            rest = chars.as_str();
        }
        json_ascii(rest.as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// What stands for itself in a JSON string but for ASCII's own exceptions.
fn json_ascii(bytes: &[u8], out: &mut Vec<u8>) {
    pass(bytes, &JSON, out, |byte, out| match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        byte => unicode(u32::from(byte), out),
    });
}

fn unicode(c: u32, out: &mut Vec<u8>) {
    let digit = |shift: u32| hex((c >> shift) as u8 & 15);
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Appends stretches that stand for themselves as they are, and has the others written.
fn pass(
    mut bytes: &[u8],
    kept: &[bool; 256],
    out: &mut Vec<u8>,
    escape: impl Fn(u8, &mut Vec<u8>),
) {
    loop {
        let end = bytes
            .iter()
            .position(|byte| !kept.get(usize::from(*byte)).copied().unwrap_or_default());
        let Some((stretch, [byte, rest @ ..])) = end.and_then(|end| bytes.split_at_checked(end))
        else {
            return out.extend_from_slice(bytes);
        };
        out.extend_from_slice(stretch);
        escape(*byte, out);
        bytes = rest;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'A' + digit - 10,
    }
}

/// Bytes that stand for themselves in a text line.
const TEXT: [bool; 256] = table(b' ', b'~');
/// Bytes that stand for themselves in a JSON string.
const JSON: [bool; 256] = table(b' ', 0xff);

#[expect(
    clippy::indexing_slicing,
    reason = "computed while compiling, where a wrong index does not compile"
)]
const fn table(first: u8, last: u8) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = first as usize;
    while byte <= last as usize {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = false;
    table[b'\\' as usize] = false;
    table[0x7f] = false;
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_cannot_leave_its_place_in_a_text_line() {
        for (bytes, line) in [
            (&b"plain text/1.0 (x; y)"[..], "plain text/1.0 (x; y)"),
            (b"a\r\nGET / 200", "a\\x0D\\x0AGET / 200"),
            (b"a\" 200 \"b", "a\\x22 200 \\x22b"),
            (b"\\x0A", "\\x5Cx0A"),
            (b"\x1b[2J\0\x7f", "\\x1B[2J\\x00\\x7F"),
            ("ä\u{9b}".as_bytes(), "\\xC3\\xA4\\xC2\\x9B"),
            (b"", ""),
        ] {
            assert_eq!(written(text, bytes), line);
        }
    }

    #[test]
    fn any_bytes_make_a_json_string() {
        for (bytes, string) in [
            (&b"plain"[..], "plain"),
            (b"\"\\\n\r\t\0\x7f", "\\\"\\\\\\n\\r\\t\\u0000\\u007F"),
            ("ä€😀".as_bytes(), "ä€😀"),
            ("\u{85}x\u{2028}".as_bytes(), "\\u0085x\\u2028"),
            (b"a\xffb\xe2\x82", "a\u{fffd}b\u{fffd}"),
            (b"\xff\"\n", "\u{fffd}\\\"\\n"),
        ] {
            assert_eq!(written(json, bytes), string);
        }
    }
}
