//! What a client accepts (RFC 9110 section 12.5.3).

use transom_api::Headers;

use super::encoder::Coding;

/// The coding of `algorithms` that a request likes best; `None` when it likes none, or its own bytes better.
pub(super) fn choose(algorithms: &[Coding], request: &Headers<'_>) -> Option<Coding> {
    let mut wishes = Wishes::default();
    for value in request.get_all("accept-encoding") {
        for member in value.split(|byte| *byte == b',') {
            wishes.read(member);
        }
    }
    let mut best: Option<(Coding, u16)> = None;
    for coding in algorithms {
        let weight = wishes.weight(*coding);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((*coding, weight));
        }
    }
    // `identity` is only in the way when it is named: unnamed, it is what is left when nothing else is accepted.
    best.filter(|(_, weight)| wishes.identity.is_none_or(|identity| *weight >= identity))
        .map(|(coding, _)| coding)
}

/// Weights in thousandths; `None`: not named.
#[derive(Default)]
struct Wishes {
    named: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Wishes {
    fn read(&mut self, member: &[u8]) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        // Who cannot be understood gets what everybody understands.
        let weight = parts
            .find_map(|part| {
                let (key, value) = part.split_at_checked(2)?;
                key.eq_ignore_ascii_case(b"q=").then_some(value)
            })
            .map_or(1_000, |value| parse_weight(value).unwrap_or(0));
        let slot = if name == b"*" {
            &mut self.any
        } else if name.eq_ignore_ascii_case(b"identity") {
            &mut self.identity
        } else {
            let known = Coding::ALL.iter().zip(&mut self.named);
            match known.into_iter().find(|(coding, _)| coding.is_named(name)) {
                Some((_, slot)) => slot,
                None => return,
            }
        };
        // Named twice, the lower counts: the client did not mean to be served what it may not read.
        *slot = Some(slot.map_or(weight, |before| before.min(weight)));
    }

    fn weight(&self, coding: Coding) -> u16 {
        let known = Coding::ALL.iter().zip(self.named);
        known
            .into_iter()
            .find(|(other, _)| **other == coding)
            .and_then(|(_, weight)| weight)
            .or(self.any)
            .unwrap_or(0)
    }
}

/// `0.5` as 500 (RFC 9110 section 12.4.2): 0 or 1, and up to three digits behind a dot.
fn parse_weight(text: &[u8]) -> Option<u16> {
    let (whole, part) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', part @ ..] if part.len() <= 3 => (whole, part),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => 1_000,
        _ => return None,
    };
    for (digit, unit) in part.iter().zip([100, 10, 1]) {
        weight += u16::from(char::from(*digit).to_digit(10)? as u8) * unit;
    }
    (weight <= 1_000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use transom_api::HeaderMap;
    use transom_api::testing::FakeStream;

    use super::*;
    use crate::noop::Noop;

    #[test]
    fn the_heaviest_that_can_be_done_is_chosen() {
        use Coding::{Brotli, Gzip, Zstd};
        for (accepted, expected) in [
            (&["gzip"][..], Some(Gzip)),
            (&["GZIP"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["gzip;q=1.0, br;q=0.5"], Some(Gzip)),
            (&["br ; q=0.5 ,gzip;Q=0.501"], Some(Gzip)),
            (&["deflate, gzip;q=0.5"], Some(Gzip)),
            (&["gzip", "br"], Some(Brotli)),
            (&["*"], Some(Zstd)),
            (&["*;q=0.5, zstd;q=0"], Some(Brotli)),
            (&["gzip;q=0.5, *;q=0"], Some(Gzip)),
            (&["identity, gzip"], Some(Gzip)),
            (&["identity;q=0, gzip;q=0.1"], Some(Gzip)),
            (&["identity;q=0.5, gzip;q=1"], Some(Gzip)),
            (&["identity, gzip;q=0.9"], None),
            (&["identity"], None),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["gzip, gzip;q=0"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=0.1234"], None),
            (&["gzip;q="], None),
            (&["gzip;q=-1"], None),
            (&["gzip;q=1.1"], None),
            (&["deflate"], None),
            (&["gzipped, br0"], None),
            (&[""], None),
            (&[","], None),
            (&[], None),
        ] {
            let stream = accepted
                .iter()
                .fold(FakeStream::new(Noop), |stream, value| {
                    stream.with_header("accept-encoding", value)
                });
            let chosen = choose(&Coding::ALL, &stream.headers(HeaderMap::RequestHeaders));
            assert_eq!(chosen, expected, "{accepted:?}");
        }
    }

    #[test]
    fn only_what_is_configured_is_chosen_in_its_order() {
        let stream = FakeStream::new(Noop).with_header("accept-encoding", "gzip, br, zstd");
        let request = stream.headers(HeaderMap::RequestHeaders);
        for order in [
            &[Coding::Gzip, Coding::Zstd][..],
            &[Coding::Brotli, Coding::Gzip],
        ] {
            assert_eq!(choose(order, &request), order.first().copied());
        }
    }

    #[test]
    fn weights_have_three_digits() {
        for (text, expected) in [
            ("1", Some(1_000)),
            ("1.", Some(1_000)),
            ("1.000", Some(1_000)),
            ("0", Some(0)),
            ("0.001", Some(1)),
            ("0.25", Some(250)),
            ("1.001", None),
            ("0.0001", None),
            (".5", None),
            ("01", None),
            ("", None),
            ("0.x", None),
        ] {
            assert_eq!(parse_weight(text.as_bytes()), expected, "{text}");
        }
    }
}
