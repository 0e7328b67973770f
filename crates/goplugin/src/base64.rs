//! Standard base64 without padding (RFC 4648 section 4 with 3.2's exception): how a certificate stands in the handshake line.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes `bytes` without padding.
pub(crate) fn encode_unpadded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        for place in 0..=chunk.len() {
            let sextet = (group >> (18 - 6 * place)) & 63;
            let symbol = ALPHABET.get(sextet as usize).copied().unwrap_or(b'A');
            text.push(char::from(symbol));
        }
    }
    text
}

/// Decodes `text`; an error is the offset of the first byte that does not belong there.
///
/// As in Go, carriage return and line feed are skipped, and bits left over at the end are not looked at.
pub(crate) fn decode_unpadded(text: &str) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut group = 0_u32;
    let mut symbols = 0;
    for (at, symbol) in text.bytes().enumerate() {
        let sextet = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'\r' | b'\n' => continue,
            _ => return Err(at),
        };
        group = group << 6 | u32::from(sextet);
        symbols += 1;
        if symbols == 4 {
            bytes.extend(group.to_be_bytes().iter().skip(1));
            group = 0;
            symbols = 0;
        }
    }
    match symbols {
        0 => {}
        2 => bytes.extend((group << 12).to_be_bytes().iter().skip(1).take(1)),
        3 => bytes.extend((group << 6).to_be_bytes().iter().skip(1).take(2)),
        _ => return Err(text.len()),
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 section 10, without the padding.
    #[test]
    fn the_vectors_of_the_rfc() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode_unpadded(plain.as_bytes()), text);
            assert_eq!(decode_unpadded(text).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn padding_and_a_single_symbol_are_refused() {
        assert_eq!(decode_unpadded("Zg=="), Err(2));
        assert_eq!(decode_unpadded("Zm9vY"), Err(5));
    }
}
