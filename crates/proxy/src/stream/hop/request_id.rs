//! `x-request-id`: one name for a request in the logs of all who see it.

use transom_config::RequestId;

use super::REQUEST_ID;
use crate::http::head::Head;
use crate::worker::entropy::Entropy;

/// Sees to it that the request has an id that may be believed, as far as the options want that.
pub(super) fn apply(options: &RequestId, trusted: bool, head: &mut Head, entropy: &Entropy) {
    if head.get(REQUEST_ID, 0).is_some() {
        let only = head.get(REQUEST_ID, 1).is_none();
        let keeps =
            (trusted || options.preserve) && only && head.get(REQUEST_ID, 0).is_some_and(is_id);
        if keeps {
            return;
        }
        head.retain_fields(|name| !name.eq_ignore_ascii_case(REQUEST_ID));
    }
    if options.generate
        && let Some(bytes) = entropy.take()
    {
        head.push_own(REQUEST_ID, &uuid(bytes));
    }
}

/// Whether it may stand in logs and go on: visible, and not longer than what systems give as ids.
fn is_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// A UUID of version 4 (RFC 9562 section 5.4) as text.
fn uuid(mut bytes: [u8; 16]) -> [u8; 36] {
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let mut places = text.iter_mut().enumerate();
    let mut put = |digit: u8| {
        let place = places.find(|(at, _)| !matches!(at, 8 | 13 | 18 | 23));
        if let Some((_, place)) = place {
            *place = hex(digit);
        }
    };
    for byte in bytes {
        put(byte >> 4);
        put(byte & 15);
    }
    text
}

/// A digit in lower case.
pub(super) fn hex(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Presence;

    #[test]
    fn an_id_is_a_uuid_of_version_4() {
        let bytes = std::array::from_fn(|at| 0xf0 + at as u8);
        assert_eq!(&uuid(bytes), b"f0f1f2f3-f4f5-46f7-b8f9-fafbfcfdfeff");
        assert_eq!(&uuid([0; 16]), b"00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn a_strangers_id_is_replaced_unless_it_is_to_be_kept() {
        let long = "x".repeat(129);
        let (on, entropy) = (
            RequestId {
                generate: true,
                preserve: false,
                in_response: false,
            },
            Entropy::default(),
        );
        let preserve = RequestId {
            preserve: true,
            ..on
        };
        let off = RequestId {
            generate: false,
            ..on
        };
        // How many ids there are afterwards, and whether they came with the request.
        for (options, trusted, came, expected) in [
            (on, false, &[][..], (1, false)),
            (on, false, &["mine"], (1, false)),
            (on, true, &["mine"], (1, true)),
            (preserve, false, &["mine"], (1, true)),
            (preserve, false, &["mine", "other"], (1, false)),
            (preserve, false, &["with space"], (1, false)),
            (preserve, false, &[""], (1, false)),
            (preserve, false, &[long.as_str()], (1, false)),
            (off, false, &["mine"], (0, false)),
            (off, false, &[], (0, false)),
            (off, true, &["mine"], (1, true)),
        ] {
            let mut head = Head::default();
            head.set_presence(Presence::Here);
            for id in came {
                head.push_own(b"X-Request-Id", id.as_bytes());
            }
            apply(&options, trusted, &mut head, &entropy);
            let ids: Vec<&[u8]> = head.values(REQUEST_ID).collect();
            let came = ids.first().is_some_and(|id| *id == b"mine");
            assert_eq!(
                (ids.len(), came),
                expected,
                "{options:?} {trusted} {came:?}"
            );
            if !came && let Some(id) = ids.first() {
                assert_eq!(id.len(), 36);
            }
        }
    }
}
