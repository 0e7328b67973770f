//! What a person is told about each mistake: `messages/NAME.yaml` is refused with `messages/NAME.txt`, character by
//! character. With `UPDATE_EXPECTED=1` the texts are written anew, to be read before they are committed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use transom_config::{Report, check_file, check_str, load_file};

use crate::registry::registry;
use crate::{expect, folder};

#[test]
fn every_mistake_is_told_as_written() {
    let registry = registry();
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(folder("tests/it/messages")).unwrap() {
        let path = entry.unwrap().path();
        if !matches!(
            path.extension().map(OsStrExt::as_bytes),
            Some(b"yaml" | b"json")
        ) {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let told = match check_str(name, &text, &registry) {
            Ok(_) => "no problem\n".to_owned(),
            Err(report) => report.to_string(),
        };
        count += 1;
        // One wrong text must not hide the others.
        let compared = std::panic::catch_unwind(|| expect(&path.with_extension("txt"), &told));
        wrong.extend(compared.err().map(|_| name.to_owned()));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(count >= 30, "only {count} files were found");
}

#[test]
fn every_file_that_cannot_be_read_is_told_as_written() {
    let temporary = temporary("files");
    let large = temporary.join("large.yaml");
    fs::File::create(&large).unwrap().set_len(64 << 20).unwrap();
    let latin = temporary.join("latin.yaml");
    fs::write(&latin, b"listeners: []\n# caf\xe9\n").unwrap();
    let empty = temporary.join("empty.yaml");
    fs::write(&empty, "").unwrap();
    let missing = temporary.join("missing.yaml");
    let below_file = empty.join("below.yaml");
    let mut told = String::new();
    for path in [&missing, &below_file, &temporary, &large, &latin, &empty] {
        let report = load_file(path).unwrap_err();
        assert_eq!(
            report.to_string(),
            check_file(path, &registry()).unwrap_err().to_string()
        );
        writeln!(told, "{report}").unwrap();
    }
    // The kernel refuses to read the first page of a process: an error while reading, also for root.
    writeln!(
        told,
        "{}",
        load_file(Path::new("/proc/self/mem")).unwrap_err()
    )
    .unwrap();
    fs::remove_dir_all(&temporary).unwrap();
    let told = told.replace(temporary.to_str().unwrap(), "/tmp/conf");
    expect(&folder("tests/it/messages/unreadable_files.txt"), &told);
}

#[test]
fn programs_get_the_same_as_json() {
    let text = fs::read_to_string(folder("tests/it/messages/duplicate_listener.yaml")).unwrap();
    let report: Report = check_str("a.yaml", &text, &registry()).unwrap_err();
    let json = report.to_json();
    assert_eq!(
        json,
        serde_json::json!({"problems": [{
            "message": "two listeners are named `ingress`",
            "help": null,
            "place": {"source": "a.yaml", "line": 7, "column": 11, "offset": 199, "length": 7},
            "labels": [{
                "text": "first here",
                "place": {"source": "a.yaml", "line": 2, "column": 11, "offset": 21, "length": 7},
            }],
        }]}),
        "{json:#}"
    );
}

#[test]
fn colour_is_for_terminals() {
    let report = check_str("a.yaml", "listener: []", &registry()).unwrap_err();
    assert!(!report.to_string().contains('\x1b'));
    assert!(report.render(true).contains('\x1b'));
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let report = check_str("a.yaml", "listeners: []\n\x1b[2J: x", &registry()).unwrap_err();
    assert!(!report.to_string().contains('\x1b'), "{report}");
}

fn temporary(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("transom-config-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
