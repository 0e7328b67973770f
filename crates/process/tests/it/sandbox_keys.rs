//! One row for each key of a sandbox: a plugin that tries what the key forbids says by which errno it was refused, and the admin API says what
//! the kernel granted.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use transom_api::{Node, NodeKind};
use transom_process::launch::profile::{Files, Network};
use transom_process::launch::{Launcher, Profile};
use transom_process::supervise::{Place, Protocol, Spec};

use super::sandbox::{attempted, attempted_by, copy_program, open_to_all};
use super::supervise::{at, exists, place, spec, start};
use super::{Folder, eventually, example};

/// What a key forbids.
struct Row {
    key: &'static str,
    /// The sandbox as a configuration has it, with nothing but what the key needs.
    sandbox: Value,
    attempt: Vec<String>,
    /// What came of it without the sandbox, and with it.
    without: &'static str,
    with: &'static str,
    /// What the admin API says of the sandbox, beside `full`.
    granted: &'static [(&'static str, NodeKind)],
}

const LANDLOCK: &[(&str, NodeKind)] = &[("no_new_privs", NodeKind::Bool(true))];
const SECCOMP: &[(&str, NodeKind)] = &[("seccomp", NodeKind::Bool(true))];
const LIMITED: &[(&str, NodeKind)] = &[("no_new_privs", NodeKind::Bool(true))];

/// What the attempts are made on.
struct World {
    folder: Folder,
    is_root: bool,
    listener: std::net::TcpListener,
}

impl World {
    fn new() -> Self {
        let folder = Folder::new();
        open_to_all(&folder);
        for name in ["secret", "listed"] {
            std::fs::write(folder.0.join(name), "x").unwrap();
        }
        let mode = |name: &str, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.0.join(name), mode).unwrap();
        };
        mode("secret", 0o600);
        copy_program(Path::new("/bin/true"), &folder.0.join("true"));
        copy_program(Path::new("/bin/cat"), &folder.0.join("cat"));
        mode("cat", 0o4755);
        Self {
            folder,
            is_root: rustix::process::geteuid().is_root(),
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.0.join(name).to_str().unwrap().to_owned()
    }

    /// The same with a mark that keeps it from being a file that the command names, which a sandbox lets a plugin read.
    fn marked(&self, name: &str) -> String {
        format!("@{}", self.path(name))
    }

    fn rows(&self) -> Vec<Row> {
        let row = |key, sandbox: Value, attempt: &[&str], with, granted| Row {
            key,
            sandbox,
            attempt: attempt.iter().map(|word| (*word).to_owned()).collect(),
            without: "ok",
            with,
            granted,
        };
        // Nothing but what the key under test forbids.
        let only = |key: &str, value: Value| json!({"system_calls": false, key: value});
        let (secret, listed) = (self.marked("secret"), self.marked("listed"));
        let address = self.listener.local_addr().unwrap().to_string();
        let own = std::process::id().to_string();
        let grown = self.path("grown");
        let mut rows = vec![
            row(
                "base",
                json!({"base": "strict"}),
                &["udp"],
                "EPERM",
                SECCOMP,
            ),
            row(
                "files.read",
                only("files", json!({"read": [self.path("listed")]})),
                &["read", &secret],
                "EACCES",
                LANDLOCK,
            ),
            row(
                "files.write",
                only("files", json!({"read": [self.path("listed")], "write": []})),
                &["write", &listed],
                "EACCES",
                LANDLOCK,
            ),
            row(
                "files.execute",
                only("files", json!({"execute": []})),
                &["run", &self.path("true")],
                "EACCES",
                LANDLOCK,
            ),
            row(
                "network.connect",
                only("network", json!({"connect": [1], "bind": [0]})),
                &["connect", &address],
                "EACCES",
                LANDLOCK,
            ),
            row(
                "network.bind",
                only("network", json!({"connect": [], "bind": [1]})),
                &["bind", "127.0.0.1:0"],
                "EACCES",
                LANDLOCK,
            ),
            row(
                "network.none",
                only("network", json!("none")),
                &["udp"],
                "EPERM",
                SECCOMP,
            ),
            row(
                "scoped",
                only("scoped", json!(true)),
                &["signal", &own],
                "EPERM",
                LANDLOCK,
            ),
            Row {
                // With this argument, without a filter.
                without: "EINVAL",
                ..row(
                    "system_calls",
                    json!({"system_calls": true}),
                    &["call", "unshare"],
                    "EPERM",
                    SECCOMP,
                )
            },
            row(
                "subprocesses",
                only("subprocesses", json!(false)),
                &["run", "/bin/true"],
                "EPERM",
                SECCOMP,
            ),
            row(
                "limits.open_files",
                only("limits", json!({"open_files": 32})),
                &["open", "100"],
                "EMFILE",
                LIMITED,
            ),
            row(
                "limits.address_space",
                only("limits", json!({"address_space": "1GiB"})),
                &["allocate", "4294967296"],
                "ENOMEM",
                LIMITED,
            ),
            row(
                "limits.file_size",
                only("limits", json!({"file_size": 1000})),
                &["grow", &grown, "2000"],
                "EFBIG",
                LIMITED,
            ),
            row(
                "limits.core",
                only("limits", json!({"core": 0})),
                &["core"],
                "EINVAL",
                LIMITED,
            ),
        ];
        // Root has no bound on its processes.
        let processes = match self.is_root {
            true => {
                json!({"system_calls": false, "user": "65531:65531", "limits": {"processes": 1}})
            }
            false => only("limits", json!({"processes": 1})),
        };
        rows.push(row(
            "limits.processes",
            processes,
            &["thread"],
            "EAGAIN",
            LIMITED,
        ));
        if self.is_root {
            rows.push(row(
                "user",
                only("user", json!("65533:65532")),
                &["read", &secret],
                "EACCES",
                LIMITED,
            ));
            rows.push(row(
                "no_new_privs",
                json!({"system_calls": false, "user": "65533:65532"}),
                &["gain", &self.path("cat"), &secret],
                "EACCES",
                LIMITED,
            ));
        } else {
            println!("only root can become another user: `user` and `no_new_privs` are not tried");
        }
        rows
    }
}

/// As a configuration would be read.
fn profile(sandbox: &Value) -> Profile {
    let declaration = node(&json!({"command": "x", "sandbox": sandbox}));
    Spec::parse(&declaration).unwrap().sandbox.unwrap()
}

fn node(value: &Value) -> Node {
    match value {
        Value::Object(map) => Node::map(map.iter().map(|(key, value)| (key.as_str(), node(value)))),
        Value::Array(list) => Node::list(list.iter().map(node)),
        Value::String(text) => Node::from(text.as_str()),
        Value::Bool(flag) => Node::from(*flag),
        Value::Number(number) => Node::from(number.as_i64().unwrap()),
        Value::Null => Node::new(NodeKind::Null),
    }
}

/// Keys that have tests of their own below.
const ALONE: [&str; 2] = ["limits.cpu", "required"];

/// Who adds a key adds what tries it.
#[test]
fn each_key_has_a_row() {
    let all = Profile {
        files: Some(Files::default()),
        network: Some(Network::default()),
        ..Profile::default()
    };
    let mut keys = BTreeSet::from(["base".to_owned()]);
    let Value::Object(all) = serde_json::to_value(all).unwrap() else {
        panic!("no map");
    };
    for (key, value) in all {
        match value {
            Value::Object(inner) => keys.extend(inner.keys().map(|name| format!("{key}.{name}"))),
            _ => drop(keys.insert(key)),
        }
    }
    let rows = World::new().rows();
    let mut tried: BTreeSet<String> = rows.iter().map(|row| row.key.to_owned()).collect();
    tried.extend(ALONE.map(str::to_owned));
    if !rustix::process::geteuid().is_root() {
        tried.extend(["user", "no_new_privs"].map(str::to_owned));
    }
    assert_eq!(tried, keys);
}

#[tokio::test]
async fn each_key_forbids_what_it_says() {
    let world = World::new();
    for row in world.rows() {
        let attempt: Vec<&str> = row.attempt.iter().map(String::as_str).collect();
        // Another user alone does not keep a program from gaining rights.
        let without = (row.key == "no_new_privs").then(|| {
            let mut profile = profile(&row.sandbox);
            profile.no_new_privs = false;
            profile
        });
        let (said, _) = attempted(without, &attempt).await;
        assert_eq!(
            said,
            format!("{}: {}", attempt[0], row.without),
            "{}",
            row.key
        );
        let (said, sandbox) = attempted(Some(profile(&row.sandbox)), &attempt).await;
        assert_eq!(said, format!("{}: {}", attempt[0], row.with), "{}", row.key);
        assert_eq!(at(&sandbox, "full"), NodeKind::Bool(true), "{}", row.key);
        for (name, value) in row.granted {
            assert_eq!(at(&sandbox, name), *value, "{}: {name}", row.key);
        }
        let by_landlock = ["files", "network.connect", "network.bind", "scoped"];
        if by_landlock.iter().any(|key| row.key.starts_with(key)) {
            let NodeKind::Integer(abi) = at(&sandbox, "landlock_abi") else {
                panic!("{}: {sandbox:?}", row.key);
            };
            assert!(abi >= 1, "{}", row.key);
        }
        if row.key == "user" {
            let user = NodeKind::String("65533:65532".to_owned());
            assert_eq!(at(&sandbox, "user"), user);
        }
    }
}

/// No errno: the system kills it.
#[tokio::test]
async fn limits_cpu_ends_it() {
    let sandbox = json!({"system_calls": false, "limits": {"cpu": "1s"}});
    let spec = Spec {
        protocol: Protocol::None,
        sandbox: Some(profile(&sandbox)),
        ..spec(&["try", "spin"])
    };
    let plugin = start(spec).await.unwrap();
    let pid = plugin.choose().unwrap().pid();
    eventually("it is killed", || !exists(pid)).await;
    plugin.stop().await;
}

/// A kernel without Landlock: the plugin is not started, or runs with what there is, and the admin API says what is missing.
#[tokio::test]
async fn required_decides_what_is_done_with_less() {
    let folder = Folder::new();
    let secret = folder.0.join("secret");
    std::fs::write(&secret, "x").unwrap();
    let secret = format!("@{}", secret.display());
    let old_kernel = || Place {
        launcher: Launcher::new(example("plugin-launcher"), ["--without-landlock"]),
        ..place()
    };
    let attempt = ["read", secret.as_str()];
    let sandbox = json!({"files": {"read": []}});
    let (said, _) = attempted_by(old_kernel(), Some(profile(&sandbox)), &attempt).await;
    assert!(said.contains("this kernel has no Landlock"), "{said}");
    let sandbox = json!({"files": {"read": []}, "required": false});
    let (said, sandbox) = attempted_by(old_kernel(), Some(profile(&sandbox)), &attempt).await;
    assert_eq!(said, "read: ok");
    assert_eq!(at(&sandbox, "full"), NodeKind::Bool(false));
    assert_eq!(at(&sandbox, "landlock_abi"), NodeKind::Integer(0));
    assert_eq!(at(&sandbox, "seccomp"), NodeKind::Bool(true));
    let missing = format!("{:?}", at(&sandbox, "missing"));
    assert!(missing.contains("no Landlock"), "{missing}");
}
