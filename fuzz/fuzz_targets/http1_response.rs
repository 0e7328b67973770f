//! Bytes of a server: decoded whole and in pieces, and written again as a proxy writes them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use transom_fuzz::{Input, response};

fuzz_target!(|data: &[u8]| {
    let input = Input::of(data);
    let whole = response::decode(&[input.bytes], &input);
    let cut = response::decode(&input.pieces(), &input);
    assert_eq!(whole, cut, "the verdict hangs on the cuts");
    for message in &whole.messages {
        response::check_forwarded(message);
    }
});
