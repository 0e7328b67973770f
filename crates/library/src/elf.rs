//! Whether bytes are a shared library of this machine, before the loader sees them: it reads what a header promises, and a
//! library that was cut off has it killed by a signal.
//!
//! Offsets are those of the 64-bit ELF header and program header (System V ABI, chapters 4 and 5).

use crate::error::LoadError;

#[cfg(target_arch = "x86_64")]
const MACHINE: (u16, &str) = (62, "x86-64");
#[cfg(target_arch = "aarch64")]
const MACHINE: (u16, &str) = (183, "AArch64");
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINE: (u16, &str) = (0, "this machine");

/// A shared object.
const DYNAMIC: u64 = 3;
/// A program header of what is mapped.
const LOAD: u64 = 1;

/// Refuses what is no complete shared library of this machine.
pub(crate) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.get(..4) != Some(b"\x7fELF") {
        return Err(LoadError::NotElf);
    }
    let cut = || LoadError::CutOff(bytes.len());
    // 64 bits, little-endian.
    if bytes.get(4..6).ok_or_else(cut)? != [2, 1] {
        return Err(LoadError::Machine(
            "another word size or byte order".to_owned(),
        ));
    }
    let machine = number(bytes, 18, 2).ok_or_else(cut)?;
    if machine != u64::from(MACHINE.0) {
        return Err(LoadError::Machine(name_of(machine)));
    }
    if number(bytes, 16, 2).ok_or_else(cut)? != DYNAMIC {
        return Err(LoadError::NotShared);
    }
    let headers = number(bytes, 32, 8).ok_or_else(cut)?;
    let size = number(bytes, 54, 2).ok_or_else(cut)?;
    let count = number(bytes, 56, 2).ok_or_else(cut)?;
    for index in 0..count {
        let header = headers.saturating_add(index * size);
        let at = |field: u64| usize::try_from(header.saturating_add(field)).ok();
        let read = |field, len| number(bytes, at(field)?, len);
        let kind = read(0, 4).ok_or_else(cut)?;
        let begin = read(8, 8).ok_or_else(cut)?;
        let len = read(32, 8).ok_or_else(cut)?;
        if kind == LOAD && begin.saturating_add(len) > bytes.len() as u64 {
            return Err(cut());
        }
    }
    // The table of sections is the last thing that linkers write.
    let sections = number(bytes, 40, 8).ok_or_else(cut)?;
    let sections_len =
        number(bytes, 58, 2).ok_or_else(cut)? * number(bytes, 60, 2).ok_or_else(cut)?;
    if sections.saturating_add(sections_len) > bytes.len() as u64 {
        return Err(cut());
    }
    Ok(())
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    let parts = bytes.iter().rev();
    Some(parts.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn name_of(machine: u64) -> String {
    match machine {
        3 => "x86".to_owned(),
        40 => "ARM".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "AArch64".to_owned(),
        243 => "RISC-V".to_owned(),
        other => format!("machine {other}"),
    }
}

/// The name of this machine.
pub(crate) fn machine() -> &'static str {
    MACHINE.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn what_is_no_library_is_told_apart() {
        assert!(matches!(check(b"#!/bin/sh"), Err(LoadError::NotElf)));
        assert!(matches!(check(b""), Err(LoadError::NotElf)));
        assert!(matches!(check(b"\x7fELF"), Err(LoadError::CutOff(4))));
        // A test's program is position-independent, and so of the same type as a library.
        let own = own();
        assert!(check(&own).is_ok());
        for len in [5, 17, 60, 100, 4096, own.len() - 1] {
            assert!(
                matches!(check(&own[..len]), Err(LoadError::CutOff(_))),
                "{len}"
            );
        }
        let mut other = own.clone();
        other[18] = 243;
        let Err(LoadError::Machine(name)) = check(&other) else {
            panic!("it is of another machine");
        };
        assert_eq!(name, "RISC-V");
        let mut other = own.clone();
        other[4] = 1;
        assert!(matches!(check(&other), Err(LoadError::Machine(_))));
        let mut object = own;
        object[16] = 1;
        assert!(matches!(check(&object), Err(LoadError::NotShared)));
    }
}
