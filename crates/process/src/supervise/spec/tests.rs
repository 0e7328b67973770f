//! Declarations that are read, and those that are refused.

use std::time::Duration;

use transom_api::Node;

use super::*;

fn list(words: &[&str]) -> Node {
    Node::list(words.iter().map(|word| Node::from(*word)))
}

fn with(key: &'static str, value: Node) -> Result<Spec, String> {
    let node = Node::map([
        ("runtime", "process".into()),
        ("command", list(&["./p"])),
        (key, value),
    ]);
    Spec::parse(&node).map_err(|error| {
        let help = error.help.map(|help| format!(" ({help})"));
        format!("{}{}", error.message, help.unwrap_or_default())
    })
}

#[test]
fn the_least_is_a_command() {
    let node = Node::map([("command", "./p".into())]);
    let spec = Spec::parse(&node).unwrap();
    assert_eq!(spec, Spec::new(["./p"]));
    assert_eq!(spec.protocol, Protocol::Transom);
    // Two that say the same are one plugin.
    assert_eq!(spec, with("instances", 1.into()).unwrap());
    assert_ne!(spec, with("instances", 2.into()).unwrap());
}

#[test]
fn every_key_is_read() {
    let spec = with("args", list(&["-v"])).unwrap();
    assert_eq!(spec.command, ["./p", "-v"]);
    let spec = with("env", list(&["HOME", "A=b=c"])).unwrap();
    let set = Variable::Set("A".into(), "b=c".into());
    assert_eq!(spec.env, [Variable::Inherit("HOME".into()), set]);
    let restart = Node::map([("backoff", "50ms..2s".into()), ("limit", 0.into())]);
    let spec = with("restart", restart).unwrap();
    assert_eq!(spec.restart.first, Duration::from_millis(50));
    assert_eq!(spec.restart.longest, Duration::from_secs(2));
    assert_eq!(spec.restart.limit, 0);
    let bounds = Node::map([("message_size", "1MiB".into()), ("time", "50ms".into())]);
    let spec = with("bounds", bounds).unwrap();
    assert_eq!(spec.bounds.message_size, 1 << 20);
    assert_eq!(spec.bounds.time, Duration::from_millis(50));
    assert_eq!(
        with("memory", "64MiB".into()).unwrap().memory,
        Some(64 << 20)
    );
    assert_eq!(with("sandbox", "none".into()).unwrap().sandbox, None);
    let strict = with("sandbox", "strict".into()).unwrap().sandbox;
    assert_eq!(strict, Some(Profile::strict()));
    let sandbox = Node::map([
        ("base", "strict".into()),
        (
            "network",
            Node::map([("connect", Node::list([443.into()]))]),
        ),
        ("files", Node::map([("read", list(&["./rules"]))])),
        ("limits", Node::map([("cpu", "10s".into())])),
    ]);
    let sandbox = with("sandbox", sandbox).unwrap().sandbox.unwrap();
    assert_eq!(sandbox.network.unwrap().connect, [443]);
    assert_eq!(sandbox.files.unwrap().read, [PathBuf::from("./rules")]);
    assert_eq!(sandbox.limits.cpu, Some(10));
    assert!(!sandbox.subprocesses);
    let spec = with("sha256", "0f".repeat(32).as_str().into()).unwrap();
    assert_eq!(spec.trust.sha256, Some([15; 32]));
    let log = Node::map([("stdout", "off".into()), ("stderr", "warn".into())]);
    let spec = with("log", log).unwrap();
    assert_eq!(
        (spec.log.stdout, spec.log.stderr),
        (None, Some(Level::Warn))
    );
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let map = |key: &'static str, value: Node| Node::map([(key, value)]);
    for (key, value, said) in [
        (
            "instances",
            0.into(),
            "expected a number from 1 to 256, found 0",
        ),
        (
            "protocol",
            "cal".into(),
            "there is no \"cal\" here (did you mean `call`? ",
        ),
        (
            "protocol",
            "ext_proc".into(),
            "a plugin with `protocol: ext_proc` needs an `address` (",
        ),
        (
            "address",
            "127.0.0.1:1".into(),
            "a plugin with `protocol: transom` has no `address` (",
        ),
        ("env", list(&["=x"]), "\"=x\" is no variable ("),
        (
            "restart",
            map("backoff", "10s..1s".into()),
            "\"10s..1s\" does not begin with the shorter pause (",
        ),
        (
            "restart",
            map("backoff", "1s".into()),
            "\"1s\" is no range of durations (",
        ),
        (
            "restart",
            map("jitter", 2.into()),
            "expected a number from 0 to 1, found 2",
        ),
        (
            "start_timeout",
            "0s".into(),
            "`start_timeout` must be longer than nothing",
        ),
        (
            "bounds",
            map("message_size", "3GiB".into()),
            "a message has at least 1KiB and less than 2GiB (",
        ),
        (
            "sandbox",
            "stric".into(),
            "there is no sandbox \"stric\" (did you mean `strict`? ",
        ),
        (
            "sandbox",
            map("no_new_privs", false.into()),
            "without `no_new_privs` neither Landlock nor seccomp can be had (",
        ),
        (
            "sandbox",
            map("network", "some".into()),
            "there is no network \"some\" (",
        ),
        (
            "sandbox",
            map("file", list(&[])),
            "unknown key `file` (did you mean `files`? ",
        ),
        (
            "sha256",
            "0f".into(),
            "a SHA-256 has 64 hexadecimal digits (",
        ),
        ("minisign", "untrusted".into(), "this is no minisign key: "),
        ("files", list(&["a.py"]), "nothing is asked of a.py ("),
        (
            "comand",
            "x".into(),
            "unknown key `comand` (did you mean `command`? ",
        ),
    ] {
        let error = with(key, value).unwrap_err();
        assert!(error.starts_with(said), "{key}: {error}");
    }
    let error = Spec::parse(&Node::map([])).unwrap_err();
    assert_eq!(error.message, "the key `command` is missing");
    let empty = Node::map([("command", list(&[]))]);
    assert_eq!(
        Spec::parse(&empty).unwrap_err().message,
        "the command is empty"
    );
}

/// What the schema promises is what is read, and nothing else is.
#[test]
fn the_schema_has_the_keys_that_are_read() {
    let transom_api::Shape::Object(keys) = schema().shape else {
        panic!("an object");
    };
    let error = with("no_such_key", true.into()).unwrap_err();
    for (name, ..) in &keys {
        assert!(error.contains(name), "{name} is not read: {error}");
    }
    let known = error.rsplit("nown keys: ").next().unwrap();
    let read = known
        .trim_end_matches(')')
        .split(", ")
        .filter(|name| *name != "runtime");
    for name in read {
        assert!(
            keys.iter().any(|(key, ..)| *key == name),
            "{name} is not in the schema"
        );
    }
}
