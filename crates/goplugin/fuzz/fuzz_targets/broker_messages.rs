//! A stream of broker messages as they stand on the wire, against a broker in either mode.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| transom_goplugin::fuzz::broker(data));
