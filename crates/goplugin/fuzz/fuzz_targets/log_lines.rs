//! A plugin's standard error, in pieces of any size: every byte is read, no line is longer than it may be.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let line = transom_goplugin::LogLine::parse(text);
        assert!(line.message.len() <= text.len());
    }
    transom_goplugin::fuzz::log(data);
});
