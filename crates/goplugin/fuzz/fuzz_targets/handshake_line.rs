//! The first line of a plugin: any text is a line or an error, and a line that is printed again is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transom_goplugin::{HandshakeLine, Multiplex};

fuzz_target!(|text: &str| {
    let Ok(line) = HandshakeLine::parse(text) else {
        return;
    };
    // A short certificate is not read as one, and an unreadable seventh field may hold what printing would not keep.
    let printable = line.certificate.as_ref().is_none_or(|der| der.len() > 38)
        && !matches!(line.multiplex, Some(Multiplex::Unreadable(_)))
        && line.address.address() == line.address.address().trim();
    if printable {
        assert_eq!(HandshakeLine::parse(&line.to_string()).as_ref(), Ok(&line));
    }
});
