//! What can be said about a program that does not do what it should.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::StartError;

/// What the system's refusal to start `path` means.
pub(super) fn spawn_error(path: &Path, source: io::Error) -> StartError {
    let path = path.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOENT) if !path.exists() => StartError::NotFound {
            hint: not_found_hint(&path),
            path,
        },
        Some(libc::ENOENT) => StartError::WrongFormat {
            notes: format!(
                "The file exists; the interpreter or dynamic loader that it names does not\n{}",
                notes(&path)
            ),
            path,
        },
        Some(libc::EACCES) => StartError::NotExecutable {
            notes: notes(&path),
            path,
        },
        Some(libc::ENOEXEC) => StartError::WrongFormat {
            notes: notes(&path),
            path,
        },
        _ => StartError::Spawn {
            notes: notes(&path),
            path,
            source,
        },
    }
}

fn not_found_hint(path: &Path) -> String {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => {
            "it is in no folder of PATH; give a path with a slash to name a file".into()
        }
        Some(folder) if !folder.exists() => {
            format!("its folder {} does not exist either", folder.display())
        }
        _ => "check the spelling of the path".into(),
    }
}

/// Path, mode, owner and kind of a file, one per line; for people who look for the reason.
pub(super) fn notes(path: &Path) -> String {
    let mut text = String::from("Additional notes about plugin:\n");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  Path: {}", path.display());
    match std::fs::metadata(path) {
        Ok(metadata) => {
            let user = rustix::process::geteuid().as_raw();
            let group = rustix::process::getegid().as_raw();
            let _ = writeln!(text, "  Mode: {:o}", metadata.mode() & 0o7777);
            let _ = writeln!(text, "  Owner: {} (current: {user})", metadata.uid());
            let _ = writeln!(text, "  Group: {} (current: {group})", metadata.gid());
            let _ = write!(text, "  Kind: {}", kind(path));
        }
        Err(error) => {
            let _ = write!(text, "  {error}");
        }
    }
    text
}

/// The kind of a file by its first bytes.
fn kind(path: &Path) -> String {
    let mut head = [0; 20];
    let read = File::open(path).and_then(|file| {
        let mut count = 0;
        let mut file = file.take(20);
        while let Some(rest) = head.get_mut(count..).filter(|rest| !rest.is_empty()) {
            match file.read(rest)? {
                0 => break,
                more => count += more,
            }
        }
        Ok(count)
    });
    match read {
        Ok(count) => describe(head.get(..count).unwrap_or_default()),
        Err(error) => format!("not readable: {error}"),
    }
}

fn describe(head: &[u8]) -> String {
    match head {
        [] => "an empty file".into(),
        [0x7f, b'E', b'L', b'F', class, data, ..] => {
            // The machine is a 16-bit number at offset 18 in the file's own byte order (ELF specification, "ELF Header").
            let machine = match (data, head.get(18..20)) {
                (2, Some([high, low])) | (_, Some([low, high])) => {
                    u16::from_be_bytes([*high, *low])
                }
                _ => 0,
            };
            let name = match machine {
                3 => "x86",
                8 => "MIPS",
                20 | 21 => "PowerPC",
                22 => "S390",
                40 => "ARM",
                62 => "x86-64",
                183 => "AArch64",
                243 => "RISC-V",
                258 => "LoongArch",
                _ => "unknown machine",
            };
            let bits = if *class == 1 { 32 } else { 64 };
            format!(
                "ELF, {bits} bit, {name} ({machine}); this machine is {}",
                std::env::consts::ARCH
            )
        }
        [b'#', b'!', ..] => "a script".into(),
        [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] => {
            "Mach-O: a program for macOS".into()
        }
        [b'M', b'Z', ..] => "PE: a program for Windows".into(),
        _ => "neither a program nor a script".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_other_machines_are_named() {
        let elf = |data: u8, machine: [u8; 2]| {
            let mut head = vec![0x7f, b'E', b'L', b'F', 2, data];
            head.resize(18, 0);
            head.extend(machine);
            describe(&head)
        };
        assert!(elf(1, [183, 0]).starts_with("ELF, 64 bit, AArch64 (183)"));
        assert!(elf(2, [0, 22]).starts_with("ELF, 64 bit, S390 (22)"));
        assert!(describe(b"MZ\x90").starts_with("PE"));
        assert!(describe(&[0xcf, 0xfa, 0xed, 0xfe]).starts_with("Mach-O"));
        assert_eq!(describe(b"#!/bin/sh"), "a script");
        assert_eq!(describe(b""), "an empty file");
        assert_eq!(describe(b"\x7fELF"), "neither a program nor a script");
    }
}
