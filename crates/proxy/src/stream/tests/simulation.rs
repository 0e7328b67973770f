//! Chains of filters that stop when they please: what comes out must be what went in.

use std::cell::RefCell;
use std::rc::Rc;

use transom_api::{
    DataVerdict, Direction, Event, HeadersVerdict, Stream as FilterContext, StreamFilter,
    TrailersVerdict, Wants,
};

use super::by_hand::{BOTH, Part, Side, in_both_directions};

/// A small generator of numbers (xorshift), so that a seed tells all.
#[derive(Clone)]
struct Random(Rc<RefCell<u64>>);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        )))
    }

    fn below(&self, limit: u64) -> u64 {
        let mut state = self.0.borrow_mut();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % limit
    }
}

/// A filter that stops when it pleases and changes nothing.
struct Whim(Random);

impl Whim {
    fn on_headers(&mut self, _end: bool) -> HeadersVerdict {
        match self.0.below(6) {
            0 => HeadersVerdict::StopIteration,
            1 => HeadersVerdict::StopAllIterationAndBuffer,
            2 => HeadersVerdict::StopAllIterationAndWatermark,
            _ => HeadersVerdict::Continue,
        }
    }

    fn on_data(
        &mut self,
        stream: &FilterContext<'_>,
        direction: Direction,
        _end: bool,
    ) -> DataVerdict {
        let body = stream.body(direction);
        assert_eq!(body.to_vec().len(), body.len());
        match self.0.below(5) {
            0 => DataVerdict::StopIterationAndBuffer,
            1 => DataVerdict::StopIterationAndWatermark,
            _ => DataVerdict::Continue,
        }
    }

    fn on_trailers(&mut self) -> TrailersVerdict {
        match self.0.below(3) {
            0 => TrailersVerdict::StopIteration,
            _ => TrailersVerdict::Continue,
        }
    }
}

in_both_directions!(Whim);

/// Those of `wants` that are among `only`.
fn among(wants: Wants, only: Wants) -> Wants {
    let each = [
        Wants::REQUEST_HEADERS,
        Wants::REQUEST_BODY,
        Wants::REQUEST_TRAILERS,
        Wants::RESPONSE_HEADERS,
        Wants::RESPONSE_BODY,
        Wants::RESPONSE_TRAILERS,
    ];
    let both = each
        .into_iter()
        .filter(|want| wants.contains(*want) && only.contains(*want));
    let mut among = both.fold(Wants::NOTHING, Wants::and);
    among.whole_request_body = wants.whole_request_body;
    among.whole_response_body = wants.whole_response_body;
    among
}

/// Sends a random message through a random chain of whims, in random pieces, with random resumes; what comes out must be
/// what went in, in order.
fn simulate(seed: u64) {
    let random = Random::new(seed);
    for direction in BOTH {
        let filters = random.below(5) as usize;
        let parts = (0..filters).map(|_| {
            let mut wants = match random.below(5) {
                0 => Wants::NOTHING,
                1 => Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS),
                2 => Wants::REQUEST_BODY.and(Wants::RESPONSE_BODY),
                _ => Wants::EVERYTHING,
            };
            if random.below(6) == 0 {
                wants = match direction {
                    Direction::Request => wants.whole_request_body(1 << 20),
                    Direction::Response => wants.whole_response_body(1 << 20),
                };
            }
            // In the other direction they must not stop what is of no interest here.
            let only = match direction {
                Direction::Request => Wants::REQUEST_HEADERS
                    .and(Wants::REQUEST_BODY)
                    .and(Wants::REQUEST_TRAILERS),
                Direction::Response => Wants::RESPONSE_HEADERS
                    .and(Wants::RESPONSE_BODY)
                    .and(Wants::RESPONSE_TRAILERS),
            };
            let random = random.clone();
            Part {
                name: "whim",
                wants: among(wants, only),
                make: Rc::new(move || Box::new(Whim(random.clone()))),
            }
        });
        let mut side = Side::new(direction, parts.collect());
        let pieces = random.below(6);
        let trailers = random.below(2) == 0;
        let mut sent = String::new();
        let mut left = Vec::new();
        side.head(pieces == 0 && !trailers);
        let whims = |side: &mut Side, left: &mut Vec<String>| {
            for _ in 0..random.below(3) {
                if filters > 0 {
                    side.resume(random.below(filters as u64) as usize);
                }
                if random.below(2) == 0 {
                    left.extend(side.left());
                }
            }
        };
        whims(&mut side, &mut left);
        for piece in 0..pieces {
            let bytes: String = (0..random.below(12))
                .map(|_| char::from(b'a' + random.below(26) as u8))
                .collect();
            sent += &bytes;
            side.data(bytes.as_bytes(), piece + 1 == pieces && !trailers);
            whims(&mut side, &mut left);
        }
        if trailers {
            side.trailers();
        }
        // At the end whoever waits is resumed, as often as it stops again.
        for _ in 0..200 {
            for filter in 0..filters {
                side.resume(filter);
            }
        }
        left.extend(side.left());
        let end = if trailers { "trailers" } else { "end" };
        let context = format!("seed {seed} {direction:?}: {left:?}");
        assert_eq!(left.first().map(String::as_str), Some("head"), "{context}");
        assert_eq!(left.last().map(String::as_str), Some(end), "{context}");
        assert_eq!(left[1..left.len() - 1].concat(), sent, "{context}");
        assert!(!side.stream.is_over(), "{context}");
    }
}

#[test]
fn whatever_filters_stop_what_comes_out_is_what_went_in() {
    // A seed that failed is tried alone by TRANSOM_SEED=…
    if let Ok(seed) = std::env::var("TRANSOM_SEED") {
        return simulate(seed.parse().unwrap());
    }
    for seed in 1..=3_000 {
        simulate(seed);
    }
}
