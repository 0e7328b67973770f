//! Certificates as text (RFC 7468).

/// The letters of base64 (RFC 4648 section 4).
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// So many characters of base64 stand in a line.
const LINE: usize = 64;

/// A certificate in PEM.
pub(super) fn certificate(der: &[u8]) -> String {
    let mut text = String::with_capacity(der.len() / 3 * 4 + der.len() / 48 + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    // Three bytes are four letters.
    for line in der.chunks(LINE / 4 * 3) {
        for group in line.chunks(3) {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for letter in 0..4 {
                text.push(match letter <= group.len() {
                    true => {
                        let index = bits >> (18 - 6 * letter) & 63;
                        LETTERS
                            .get(index as usize)
                            .map_or('=', |it| char::from(*it))
                    }
                    false => '=',
                });
            }
        }
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for length in [1, 2, 3, 47, 48, 49, 50, 1000] {
            let der: Vec<u8> = (0..length).map(|byte| (byte * 7) as u8).collect();
            let text = certificate(&der);
            let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
            assert_eq!(&*read, &*der, "{text}");
            assert!(text.lines().all(|line| line.len() <= LINE));
        }
        assert_eq!(
            certificate(b"any carnal pleas"),
            "-----BEGIN CERTIFICATE-----\nYW55IGNhcm5hbCBwbGVhcw==\n-----END CERTIFICATE-----\n"
        );
    }
}
