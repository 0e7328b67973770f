//! Nothing is accepted here that hyper refuses, and what both accept both understand alike.
//!
//! The other direction is no fault: this codec refuses much that hyper mends.

use crate::hyper_server;
use crate::mutation::{MESSAGES, Mutations};
use crate::table::ROWS;
use crate::transom_codec::{self, Accepted};

/// Enough to meet every rule of both parsers many times, and a few seconds.
const INPUTS: usize = 20_000;

/// Where we accept what hyper does not: each place with its reason.
fn is_allowed(request: &Accepted) -> bool {
    // RFC 3986 has none of these bytes, and hyper's type for targets refuses them in most places. They end nothing and stand
    // for nothing else in a request line, there are clients that send them, and nginx passes them on as they are.
    request.target.contains(['"', '`', '<', '>'])
}

#[test]
fn hostile_rows_are_not_accepted_more_than_by_hyper() {
    let control = event_loop();
    for row in ROWS.iter() {
        control.block_on(compare(&row.input(), &row.name));
    }
}

#[test]
fn hostile_mutations_are_not_accepted_more_than_by_hyper() {
    // TRANSOM_SEED=… repeats a run, or tries others.
    let seed = std::env::var("TRANSOM_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let control = event_loop();
    let mut mutations = Mutations::new(seed);
    let mut both = 0;
    for number in 0..INPUTS {
        let input = mutations.next_input();
        both += control.block_on(compare(
            &input,
            &format!("TRANSOM_SEED={seed}, input {number}"),
        ));
    }
    // So that the comparison cannot become one of nothing with nothing.
    assert!(
        both > INPUTS / 5,
        "only {both} requests were accepted by both"
    );
}

#[test]
fn good_messages_are_accepted_by_both() {
    let control = event_loop();
    for message in MESSAGES {
        let both = control.block_on(compare(message, "a good message"));
        assert!(both >= 2, "{}", message.escape_ascii());
    }
}

/// Compares, and gives how many requests both accepted.
async fn compare(input: &[u8], what: &str) -> usize {
    let (ours, _) = transom_codec::accepted(input);
    let theirs = hyper_server::accepted(input).await;
    for (at, request) in ours.iter().enumerate() {
        if is_allowed(request) {
            return at;
        }
        let same = theirs.get(at).is_some_and(|other| is_same(request, other));
        assert!(
            same,
            "{what}: {}\nis to us {request:?}\nand to hyper {:?}",
            input.escape_ascii(),
            theirs.get(at)
        );
    }
    ours.len()
}

fn is_same(ours: &Accepted, theirs: &Accepted) -> bool {
    // hyper writes an absolute target anew: with a path, and its scheme and host in lower case.
    let same_target = ours.target == theirs.target || !ours.target.starts_with('/');
    same_target
        && ours.method == theirs.method
        && ours.fields == theirs.fields
        && ours.body == theirs.body
        && ours.trailers == theirs.trailers
}

fn event_loop() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("an event loop")
}
