//! `transom plugin new`, `check` and `call`: what they print, for people and for programs, and how they end.
//!
//! The plugins are the example of the SDK in Rust, which is built with this test, and scripts that are none.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Folder, run};

/// `plugin WORDS` with a program behind them.
fn plugin(words: &[&str], program: &[&str]) -> (i32, String, String) {
    let all: Vec<&str> = ["plugin"]
        .iter()
        .chain(words)
        .chain(program)
        .copied()
        .collect();
    run(&all, None)
}

/// What `--output json` prints.
fn json(words: &[&str], program: &[&str]) -> (i32, Value) {
    let words: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
    let (code, stdout, stderr) = plugin(&words, program);
    let value = serde_json::from_str(&stdout);
    (
        code,
        value.unwrap_or_else(|error| panic!("{error}: {stdout:?} {stderr:?}")),
    )
}

/// A shell script.
fn script(folder: &Folder, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.write(name, &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The filter of examples/plugins, which is a program of the workspace: built here if it is not yet.
fn filter() -> String {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_transom"));
    let program = own.with_file_name("filter");
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "filter", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    cargo
        .arg("--target-dir")
        .arg(own.ancestors().nth(2).unwrap());
    if own
        .ancestors()
        .nth(1)
        .is_some_and(|folder| folder.ends_with("release"))
    {
        cargo.arg("--release");
    }
    assert!(
        cargo.status().unwrap().success(),
        "the example filter does not build"
    );
    shown(&program).to_owned()
}

#[test]
fn a_plugin_is_checked_and_called() {
    let filter = filter();
    let (code, text, _) = plugin(&["check"], &[&filter]);
    assert_eq!(code, 0, "{text}");
    for (name, value) in [
        ("handshake", "1|1|unix|"),
        ("protocol", "transom.plugin.v1, revision 1"),
        ("plugin", "filter 0."),
        ("extension", "stream_filter"),
        ("health", "serving"),
        ("answer", "good"),
    ] {
        let row = text.lines().find_map(|line| line.strip_prefix(name));
        assert!(
            row.is_some_and(|row| row.trim_start().starts_with(value)),
            "{name}: {text}"
        );
    }
    let (code, found) = json(&["check", "--config", r#"{"User": "admin"}"#], &[&filter]);
    assert_eq!(
        (code, &found["protocol"], &found["name"]),
        (0, &"transom.plugin.v1".into(), &"filter".into())
    );
    assert_eq!(found["extensions"][0]["kind"], "stream_filter");
    assert_eq!(
        found["extensions"][0]["schema"]["type"], "object",
        "{found}"
    );
    assert_eq!(found["first_answer"]["good"], true);
    // It refuses a configuration of numbers.
    let (code, found) = json(&["check", "--config", r#"{"User": 1}"#], &[&filter]);
    assert_eq!(
        (code, &found["first_answer"]["good"]),
        (1, &false.into()),
        "{found}"
    );

    let admin = [
        "call",
        "--config",
        r#"{"User": "admin"}"#,
        "-H",
        "User: admin",
    ];
    let (code, text, _) = plugin(&admin, &[&filter]);
    assert_eq!((code, text.as_str()), (0, "the request goes on\n"));
    let (code, found) = json(&admin, &[&filter]);
    assert_eq!((code, &found["reply"]), (0, &Value::Null));
    let guest = ["call", "--config", r#"{"User": "admin"}"#, "--path", "/a"];
    let (code, text, _) = plugin(&guest, &[&filter]);
    assert_eq!(code, 0);
    assert!(
        text.starts_with("answered by the plugin: 403 (filter_denied)\n"),
        "{text}"
    );
    assert!(
        text.ends_with("response body: a required header is missing\n"),
        "{text}"
    );
    let (_, found) = json(&guest, &[&filter]);
    assert_eq!(
        (&found["reply"]["status"], &found["reply"]["details"]),
        (&403.into(), &"filter_denied".into())
    );

    // By MOSN's protocol, which has its configuration from the program's arguments.
    let folder = Folder::new();
    let config = folder.write("config.json", r#"{"User": "admin"}"#);
    let with = [filter.as_str(), "-c", shown(&config)];
    let (code, text, _) = plugin(&["call", "--protocol", "call", "-H", "User: admin"], &with);
    assert_eq!((code, text.as_str()), (0, "status 1\n"));
    let (code, found) = json(&["call", "--protocol", "call", "-H", "User: guest"], &with);
    assert_eq!((code, &found["status"]), (0, &(-1).into()));
    let (code, found) = json(&["check", "--protocol", "call"], &with);
    assert_eq!(
        (code, &found["protocol"], &found["extensions"]),
        (0, &"call".into(), &Value::Null)
    );
}

#[test]
fn what_is_wrong_with_a_call_is_told_by_its_end() {
    let filter = filter();
    // (words, exit code, error, help)
    let wrong: [(&[&str], i32, &str, &str); 5] = [
        (
            &["call", "-H", "User"],
            2,
            "\"User\" is no header",
            "-H 'NAME: VALUE'",
        ),
        (
            &["call", "--config", "{"],
            2,
            "refuses the configuration",
            "as JSON",
        ),
        (
            &["call", "--config", r#"{"User": 1}"#],
            2,
            "User",
            "as JSON",
        ),
        (
            &["call", "--extension", "nobody"],
            2,
            "no extension \"nobody\"",
            "it has: stream_filter",
        ),
        (
            &["call", "--server-name", "a.test"],
            2,
            "no extension that can be called",
            "it has: stream_filter",
        ),
    ];
    for (words, wanted, error, help) in wrong {
        let (code, _, stderr) = plugin(words, &[&filter]);
        assert_eq!(code, wanted, "{words:?}: {stderr}");
        assert!(
            stderr.contains("error: ") && stderr.contains(error),
            "{words:?}: {stderr}"
        );
        assert!(
            stderr.contains("  help: ") && stderr.contains(help),
            "{words:?}: {stderr}"
        );
        let (code, found) = json(words, &[&filter]);
        assert_eq!(code, wanted, "{words:?}");
        assert!(
            found["error"].as_str().unwrap().contains(error),
            "{words:?}: {found}"
        );
        assert!(
            found["help"].as_str().unwrap().contains(help),
            "{words:?}: {found}"
        );
    }
    // Without a program, and with words that nobody knows: the usage.
    for words in [
        &["call"][..],
        &["check"],
        &["call", "--status", "many", "x"],
        &["check", "--protocol", "soap", "x"],
    ] {
        let (code, _, stderr) = plugin(words, &[]);
        assert_eq!(code, 2, "{words:?}");
        assert!(
            stderr.contains("error: ") && stderr.contains("--help"),
            "{words:?}: {stderr}"
        );
    }
}

#[test]
fn programs_that_are_no_plugins_are_told_apart() {
    let folder = Folder::new();
    let gone = script(&folder, "gone", "echo 'cannot do this' >&2; exit 3");
    let chatty = script(&folder, "chatty", "echo hello; exec sleep 30");
    let other = script(
        &folder,
        "other",
        "echo '1|7|unix|/nowhere|grpc'; exec sleep 30",
    );
    let netrpc = script(
        &folder,
        "netrpc",
        "echo '1|1|unix|/nowhere|netrpc'; exec sleep 30",
    );
    let nobody = script(
        &folder,
        "nobody",
        "echo '1|1|unix|/nowhere|grpc'; exec sleep 30",
    );
    let plain = folder.write("plain", "no program");
    for (program, error, help) in [
        ("/nowhere/plugin", "/nowhere/plugin", "the program's path"),
        (shown(&plain), shown(&plain), "chmod +x"),
        (shown(&gone), "cannot do this", "handshake line"),
        (shown(&chatty), "hello", "1|1|unix|PATH|grpc"),
        (shown(&other), "7", ""),
        (shown(&netrpc), "netrpc", ""),
        (shown(&nobody), "/nowhere", ""),
    ] {
        for command in ["check", "call"] {
            let (code, found) = json(&[command], &[program]);
            assert_eq!(code, 1, "{command} {program}: {found}");
            let message = found["error"].as_str().unwrap();
            assert!(message.contains(error), "{command} {program}: {message}");
            assert!(
                found["help"].as_str().unwrap().contains(help),
                "{command} {program}: {found}"
            );
        }
        let (code, stdout, stderr) = plugin(&["check"], &[program]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{program}");
        assert!(stderr.contains("error: "), "{program}: {stderr}");
    }
}

#[test]
fn a_new_plugin_is_written() {
    let folder = Folder::new();
    for (lang, files, test) in [
        (
            "rust",
            &["Cargo.toml", "src/main.rs", "README.md"][..],
            "cargo test",
        ),
        (
            "python",
            &["filter.py", "test_filter.py", "README.md"],
            "python3 -m unittest",
        ),
        (
            "java",
            &[
                "pom.xml",
                "plugin/pom.xml",
                "plugin/src/main/java/Filter.java",
                "plugin/src/test/java/FilterTest.java",
                "README.md",
            ],
            "mvn -q test",
        ),
    ] {
        let path = folder.path().join(format!("{lang}_one"));
        let (code, text, stderr) = plugin(&["new", "--lang", lang, shown(&path)], &[]);
        assert_eq!(code, 0, "{stderr}");
        let mut wanted: String = files
            .iter()
            .map(|file| format!("{}\n", path.join(file).display()))
            .collect();
        wanted += &format!("next: cd {} && {test}\n", path.display());
        assert_eq!(text, wanted);
        for file in files {
            let text = std::fs::read_to_string(path.join(file)).unwrap();
            for left in ["@NAME@", "@SDK@", "\"filter\"", "filter_denied"] {
                assert!(
                    !text.is_empty() && !text.contains(left),
                    "{lang}: {file} has {left}"
                );
            }
        }
        let path = folder.path().join(format!("{lang}_two"));
        let (code, found) = json(&["new", "--lang", lang], &[shown(&path)]);
        assert_eq!((code, &found["test"]), (0, &test.into()));
        assert_eq!(found["files"].as_array().unwrap().len(), files.len());
        assert_eq!(found["folder"], shown(&path));
    }
}

#[test]
fn a_new_plugin_is_not_written_over_others_or_where_nobody_may() {
    let folder = Folder::new();
    let there = folder.write("there", "mine");
    let name = folder.path().join("Not-A-Name");
    let fine = folder.path().join("fine");
    // Beneath a file no folder can be made, not even by root.
    let beneath = there.join("beneath");
    for (words, wanted, error, help) in [
        (
            &["new", "--lang", "rust", shown(&there)][..],
            2,
            "is there already",
            "another name",
        ),
        (
            &["new", "--lang", "rust", shown(&name)],
            2,
            "is no name for a plugin",
            "lower case letters",
        ),
        (
            &["new", "--lang", "rust", "--sdk", "/nowhere", shown(&fine)],
            2,
            "SDKs are not found",
            "--sdk PATH",
        ),
        (
            &["new", "--lang", "rust", shown(&beneath)],
            1,
            "cannot write",
            "",
        ),
    ] {
        let (code, _, stderr) = plugin(words, &[]);
        assert_eq!(code, wanted, "{words:?}: {stderr}");
        assert!(
            stderr.contains(error) && stderr.contains(help),
            "{words:?}: {stderr}"
        );
        let (code, found) = json(words, &[]);
        assert_eq!(code, wanted, "{words:?}");
        assert!(
            found["error"].as_str().unwrap().contains(error),
            "{words:?}: {found}"
        );
    }
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "mine");
    assert!(!name.exists() && !fine.exists());
    let (code, _, stderr) = plugin(&["new", "--lang", "cobol", shown(&fine)], &[]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("cobol") && stderr.contains("rust, go, python, java"),
        "{stderr}"
    );
    let (code, _, stderr) = plugin(&["new", shown(&fine)], &[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--lang"), "{stderr}");
}
