//! Sandboxes: each key with a plugin that tries what it forbids and reports the errno; and what is verified before it is run.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use transom_api::{Node, NodeKind};
use transom_process::Request;
use transom_process::launch::Profile;
use transom_process::launch::profile::{Files, Limits, Network};
use transom_process::supervise::spec::{Trust, TrustedFile};
use transom_process::supervise::{Place, Protocol, Spec, Supervisor};

use super::supervise::{PATIENCE, at, call, exists, place, spec, spec_of, start};
use super::{Folder, eventually, example};

pub(crate) fn open_to_all(folder: &Folder) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&folder.0, mode).unwrap();
}

/// Copies a program. Another process does it, because a file that is open for writing cannot be run, and what this process
/// has open is for a moment open in each child that it starts meanwhile.
pub(crate) fn copy_program(program: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .args([program, to])
        .status();
    assert!(copied.unwrap().success());
}

/// Nothing but what the key under test forbids.
fn open() -> Profile {
    Profile {
        system_calls: false,
        ..Profile::default()
    }
}

/// What a plugin in this sandbox says of its attempt, and what the admin API says of its sandbox.
pub(crate) async fn attempted(profile: Option<Profile>, attempt: &[&str]) -> (String, Node) {
    attempted_by(place(), profile, attempt).await
}

/// The same with another launcher.
pub(crate) async fn attempted_by(
    place: Place,
    profile: Option<Profile>,
    attempt: &[&str],
) -> (String, Node) {
    let words: Vec<&str> = ["try"].iter().chain(attempt).copied().collect();
    // Where any user may run it: a build may lie in a folder that is its owner's alone.
    let folder = Folder::new();
    open_to_all(&folder);
    let program = folder.0.join("hostile-plugin");
    copy_program(&example("hostile-plugin"), &program);
    let spec = Spec {
        protocol: Protocol::None,
        sandbox: profile,
        ..spec_of(&program, &words)
    };
    let supervisor = Supervisor::new();
    let plugin = supervisor.plugin("p", Arc::new(spec), place).await.unwrap();
    let name = attempt[0];
    let said = || {
        let node = supervisor.describe("p").unwrap();
        let NodeKind::List(lines) = at(&node, "versions.0.instances.0.output") else {
            panic!("{node:?}");
        };
        let lines = lines.iter().map(|line| line.as_str().unwrap().to_owned());
        let lines: Vec<String> = lines.collect();
        lines
            .iter()
            .find(|line| line.starts_with(&format!("{name}: ")))
            .cloned()
            .or_else(|| {
                let error = lines.iter().find(|line| line.contains("cannot launch"));
                error.cloned()
            })
    };
    eventually("it says what came of it", || said().is_some()).await;
    let said = said().unwrap();
    let node = supervisor.describe("p").unwrap();
    drop(plugin);
    supervisor.stop().await;
    (said, Node::new(at(&node, "versions.0.instances.0.sandbox")))
}

/// The attempt succeeds without the sandbox, and fails with this errno in it.
async fn forbidden(profile: Profile, attempt: &[&str], errno: &str) -> Node {
    let name = attempt[0];
    assert_eq!(attempted(None, attempt).await.0, format!("{name}: ok"));
    let (said, sandbox) = attempted(Some(profile), attempt).await;
    assert_eq!(said, format!("{name}: {errno}"));
    sandbox
}

async fn allowed(profile: Profile, attempt: &[&str]) {
    let (said, _) = attempted(Some(profile), attempt).await;
    assert_eq!(said, format!("{}: ok", attempt[0]));
}

#[tokio::test]
async fn files_are_read_and_written_where_the_profile_allows_it() {
    let folder = Folder::new();
    let path = |name: &str| folder.0.join(name);
    for file in ["secret", "readable", "writable"] {
        std::fs::write(path(file), "x").unwrap();
    }
    let marked = |name: &str| format!("@{}", path(name).display());
    let (secret, readable, writable) = (marked("secret"), marked("readable"), marked("writable"));
    let profile = || Profile {
        files: Some(Files {
            read: vec![path("readable")],
            write: vec![path("writable")],
            execute: Vec::new(),
        }),
        ..open()
    };
    let sandbox = forbidden(profile(), &["read", &secret], "EACCES").await;
    let NodeKind::Integer(abi) = at(&sandbox, "landlock_abi") else {
        panic!("{sandbox:?}");
    };
    assert!(abi >= 1, "{sandbox:?}");
    assert_eq!(at(&sandbox, "full"), NodeKind::Bool(true));
    assert_eq!(at(&sandbox, "no_new_privs"), NodeKind::Bool(true));
    forbidden(profile(), &["write", &secret], "EACCES").await;
    forbidden(profile(), &["write", &readable], "EACCES").await;
    allowed(profile(), &["read", &readable]).await;
    allowed(profile(), &["write", &writable]).await;
    // What the command names may be read.
    allowed(profile(), &["read", path("secret").to_str().unwrap()]).await;
    // A path that is not there is told, and the plugin is not started.
    let missing = Profile {
        files: Some(Files {
            read: vec!["/no/such/path".into()],
            ..Files::default()
        }),
        ..open()
    };
    let (said, _) = attempted(Some(missing), &["read", &secret]).await;
    assert!(said.contains("the sandbox names /no/such/path"), "{said}");
}

#[tokio::test]
async fn programs_are_run_where_the_profile_allows_it() {
    let folder = Folder::new();
    let program = folder.0.join("true");
    copy_program(Path::new("/bin/true"), &program);
    let profile = |execute: &[&Path]| Profile {
        files: Some(Files {
            execute: execute.iter().map(|path| path.to_path_buf()).collect(),
            ..Files::default()
        }),
        ..open()
    };
    let path = program.to_str().unwrap();
    forbidden(profile(&[]), &["run", path], "EACCES").await;
    allowed(profile(&[&folder.0]), &["run", path]).await;
    allowed(profile(&[]), &["run", "/bin/true"]).await;
}

#[tokio::test]
async fn ports_are_used_where_the_profile_allows_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text = address.to_string();
    let profile = |connect: &[u16], bind: &[u16]| Profile {
        network: Some(Network {
            connect: connect.to_vec(),
            bind: bind.to_vec(),
            none: false,
        }),
        ..open()
    };
    forbidden(profile(&[], &[]), &["connect", &text], "EACCES").await;
    allowed(profile(&[address.port()], &[]), &["connect", &text]).await;
    forbidden(profile(&[], &[]), &["bind", "127.0.0.1:0"], "EACCES").await;
    allowed(profile(&[], &[0]), &["bind", "127.0.0.1:0"]).await;
}

#[tokio::test]
async fn without_network_there_are_unix_sockets_only() {
    let folder = Folder::new();
    let socket = folder.0.join("s");
    let _listener = UnixListener::bind(&socket).unwrap();
    let profile = || Profile {
        network: Some(Network {
            none: true,
            ..Network::default()
        }),
        ..open()
    };
    let sandbox = forbidden(profile(), &["udp"], "EPERM").await;
    assert_eq!(at(&sandbox, "seccomp"), NodeKind::Bool(true));
    forbidden(profile(), &["bind", "127.0.0.1:0"], "EPERM").await;
    allowed(profile(), &["unix", socket.to_str().unwrap()]).await;
}

#[tokio::test]
async fn system_calls_that_no_filter_needs_are_refused() {
    for call in [
        "ptrace",
        "bpf",
        "io_uring_setup",
        "unshare",
        "mount",
        "keyctl",
        "perf_event_open",
        "userfaultfd",
        "process_vm_readv",
        "kexec_load",
    ] {
        // The arguments are nonsense: without the filter the kernel says so, in another way.
        let (without, _) = attempted(Some(open()), &["call", call]).await;
        let (with, _) = attempted(Some(Profile::default()), &["call", call]).await;
        assert_eq!(with, "call: EPERM", "{call}");
        // `kexec_load` and `bpf` are refused to whoever is not root, before the arguments are looked at.
        assert!(
            without != with || !rustix::process::geteuid().is_root(),
            "{call}: {without}"
        );
    }
}

#[tokio::test]
async fn subprocesses_are_refused_and_threads_are_not() {
    let profile = || Profile {
        subprocesses: false,
        ..open()
    };
    forbidden(profile(), &["run", "/bin/true"], "EPERM").await;
    allowed(profile(), &["thread"]).await;
}

#[tokio::test]
async fn what_is_outside_of_the_scope_gets_no_signal_and_no_connection() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("transom-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let profile = || Profile {
        scoped: true,
        ..open()
    };
    let own = std::process::id().to_string();
    forbidden(profile(), &["signal", &own], "EPERM").await;
    forbidden(profile(), &["abstract", &name], "EPERM").await;
}

#[tokio::test]
async fn limits_hold() {
    let limits = |limits| Profile { limits, ..open() };
    let folder = Folder::new();
    let file = folder.0.join("large");
    let file = file.to_str().unwrap();
    let none = Limits::default();
    forbidden(
        limits(Limits {
            open_files: Some(32),
            ..none.clone()
        }),
        &["open", "100"],
        "EMFILE",
    )
    .await;
    forbidden(
        limits(Limits {
            address_space: Some(1 << 30),
            ..none.clone()
        }),
        &["allocate", "4294967296"],
        "ENOMEM",
    )
    .await;
    forbidden(
        limits(Limits {
            file_size: Some(1000),
            ..none.clone()
        }),
        &["grow", file, "2000"],
        "EFBIG",
    )
    .await;
    let (said, _) = attempted(
        Some(limits(Limits {
            core: Some(0),
            ..none.clone()
        })),
        &["who"],
    )
    .await;
    assert!(said.ends_with("core Some(0)"), "{said}");
    // The CPU time is over: the system kills it.
    let spec = Spec {
        protocol: Protocol::None,
        sandbox: Some(limits(Limits {
            cpu: Some(1),
            ..none
        })),
        ..spec(&["try", "spin"])
    };
    let plugin = start(spec).await.unwrap();
    let pid = plugin.choose().unwrap().pid();
    eventually("it is killed", || !exists(pid)).await;
    plugin.stop().await;
}

#[tokio::test]
async fn the_user_is_dropped_with_all_groups() {
    if !rustix::process::geteuid().is_root() {
        println!("only root can become another user: not tried");
        return;
    }
    let folder = Folder::new();
    open_to_all(&folder);
    let secret = folder.0.join("secret");
    std::fs::write(&secret, "x").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let profile = |user: &str| Profile {
        user: Some(user.to_owned()),
        limits: Limits {
            processes: Some(64),
            ..Limits::default()
        },
        ..open()
    };
    let sandbox = forbidden(
        profile("nobody"),
        &["read", secret.to_str().unwrap()],
        "EACCES",
    )
    .await;
    assert_eq!(
        at(&sandbox, "user"),
        NodeKind::String("65534:65534".to_owned())
    );
    let (said, _) = attempted(Some(profile("65533:65532")), &["who"]).await;
    assert!(
        said.contains("uid 65533 gid 65532 groups [] nnp 1"),
        "{said}"
    );
    let (said, _) = attempted(Some(profile("no-such-user")), &["who"]).await;
    assert!(said.contains("there is no user no-such-user"), "{said}");
}

/// The whole of `strict` leaves a plugin able to do its work, over the socket that it is given.
#[tokio::test]
async fn a_plugin_works_in_the_strictest_sandbox() {
    let spec = Spec {
        sandbox: Some(Profile::strict()),
        ..spec(&["serve"])
    };
    let plugin = start(spec).await.unwrap();
    let instance = plugin.choose().unwrap();
    let body = call(&instance, "").await.unwrap();
    // The process that was started is the one that serves: the launcher became it.
    assert_eq!(String::from_utf8(body).unwrap(), instance.pid().to_string());
    plugin.stop().await;
}

/// A plugin cannot say of itself what only the launcher may say.
#[tokio::test]
async fn nobody_but_the_launcher_says_what_was_granted() {
    let supervisor = Supervisor::new();
    let spec = Spec {
        sandbox: Some(open()),
        ..spec(&["spoof"])
    };
    let _plugin = supervisor
        .plugin("p", Arc::new(spec), place())
        .await
        .unwrap();
    let sandbox = Node::new(at(
        &supervisor.describe("p").unwrap(),
        "versions.0.instances.0.sandbox",
    ));
    assert_eq!(at(&sandbox, "landlock_abi"), NodeKind::Null);
    assert_eq!(at(&sandbox, "seccomp"), NodeKind::Bool(false));
    supervisor.stop().await;
    // And without a launcher nothing was granted.
    let _plugin = supervisor
        .plugin("q", Arc::new(super::supervise::spec(&["spoof"])), place())
        .await
        .unwrap();
    assert_eq!(
        at(
            &supervisor.describe("q").unwrap(),
            "versions.0.instances.0.sandbox"
        ),
        NodeKind::Null
    );
    supervisor.stop().await;
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap()
}

/// A copy of the plugin that can be tampered with, and its digest.
fn copy(folder: &Folder) -> (Spec, [u8; 32]) {
    let program = folder.0.join("plugin");
    copy_program(&example("hostile-plugin"), &program);
    let digest = sha256(&std::fs::read(&program).unwrap());
    let mut spec = spec(&["serve"]);
    spec.command[0] = program.to_str().unwrap().to_owned();
    (spec, digest)
}

#[tokio::test]
async fn a_program_that_was_approved_is_run_and_another_is_not() {
    let folder = Folder::new();
    let (mut spec, digest) = copy(&folder);
    spec.trust.sha256 = Some(digest);
    let plugin = start(spec.clone()).await.unwrap();
    // It runs from what was verified, and not from the file: that may change now.
    let pid = plugin.choose().unwrap().pid();
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(
        exe.to_str().unwrap().starts_with("/memfd:"),
        "{}",
        exe.display()
    );
    let program = folder.0.join("plugin");
    let mut bytes = std::fs::read(&program).unwrap();
    bytes.push(0);
    std::fs::write(&program, bytes).unwrap();
    call(&plugin.choose().unwrap(), "").await.unwrap();
    // Changed on disk after it was verified: it is not started again.
    let error = plugin.restart().await.unwrap_err();
    assert!(error.contains("not the one that was approved"), "{error}");
    assert_eq!(plugin.choose().unwrap().pid(), pid);
    plugin.stop().await;
    let error = start(spec).await.unwrap_err().to_string();
    assert!(error.contains("not the one that was approved"), "{error}");
}

#[tokio::test]
async fn a_script_that_the_command_names_is_run_as_it_was_verified() {
    let folder = Folder::new();
    let script = folder.0.join("plugin.sh");
    std::fs::write(&script, "echo \"verified $0\"; sleep 3600\n").unwrap();
    let mut spec = Spec::new(["sh", script.to_str().unwrap()]);
    spec.protocol = Protocol::None;
    spec.trust.files = vec![TrustedFile {
        path: script.clone(),
        sha256: Some(sha256(&std::fs::read(&script).unwrap())),
    }];
    let supervisor = Supervisor::new();
    let _plugin = supervisor
        .plugin("p", Arc::new(spec.clone()), place())
        .await
        .unwrap();
    let said = || {
        format!(
            "{:?}",
            at(
                &supervisor.describe("p").unwrap(),
                "versions.0.instances.0.output"
            )
        )
    };
    eventually("it runs", || said().contains("verified /proc/self/fd/")).await;
    let node = supervisor.describe("p").unwrap();
    assert_eq!(
        at(&node, "versions.0.instances.0.sandbox.verified_files"),
        NodeKind::Integer(1)
    );
    supervisor.stop().await;
    std::fs::write(&script, "echo tampered; sleep 3600\n").unwrap();
    let _plugin = supervisor
        .plugin("q", Arc::new(spec), place())
        .await
        .unwrap();
    let said = || {
        format!(
            "{:?}",
            at(
                &supervisor.describe("q").unwrap(),
                "versions.0.instances.0.output"
            )
        )
    };
    eventually("it is refused", || {
        said().contains("not the one that was approved")
    })
    .await;
    assert!(!said().contains("tampered"), "{}", said());
    supervisor.stop().await;
}

/// Keys and signatures that minisign 0.11 made.
mod signed {
    include!("signed.rs");
}

#[tokio::test]
async fn signatures_of_minisign_are_verified() {
    let folder = Folder::new();
    let script = folder.0.join("plugin.sh");
    std::fs::write(&script, signed::SCRIPT).unwrap();
    let signature = folder.0.join("plugin.sh.minisig");
    let start = async |key: &str, signature_text: Option<&str>| {
        match signature_text {
            Some(text) => std::fs::write(&signature, text).unwrap(),
            None => drop(std::fs::remove_file(&signature)),
        }
        let mut spec = Spec::new(["sh", script.to_str().unwrap()]);
        spec.protocol = Protocol::None;
        spec.trust = Trust {
            minisign: Some(key.to_owned()),
            files: vec![TrustedFile {
                path: script.clone(),
                sha256: None,
            }],
            ..Trust::default()
        };
        let supervisor = Supervisor::new();
        let _plugin = supervisor
            .plugin("p", Arc::new(spec), place())
            .await
            .unwrap();
        let said = || {
            format!(
                "{:?}",
                at(
                    &supervisor.describe("p").unwrap(),
                    "versions.0.instances.0.output"
                )
            )
        };
        eventually("it says something", || {
            said().contains("good script") || said().contains("cannot launch")
        })
        .await;
        let said = said();
        supervisor.stop().await;
        said
    };
    assert!(
        start(signed::KEY, Some(signed::SIGNATURE))
            .await
            .contains("good script")
    );
    let refused = start(signed::OTHER_KEY, Some(signed::SIGNATURE)).await;
    assert!(refused.contains("is not good"), "{refused}");
    let refused = start(signed::KEY, None).await;
    assert!(refused.contains("cannot be read"), "{refused}");
    std::fs::write(&script, format!("{} ", signed::SCRIPT)).unwrap();
    let refused = start(signed::KEY, Some(signed::SIGNATURE)).await;
    assert!(refused.contains("is not good"), "{refused}");
}

/// What a plugin's own program says when it is called, over the socket that only the launcher's folder holds.
#[tokio::test]
async fn verified_and_sandboxed_together_it_still_serves() {
    let folder = Folder::new();
    let (mut spec, digest) = copy(&folder);
    spec.trust.sha256 = Some(digest);
    spec.sandbox = Some(Profile::strict());
    let plugin = start(spec).await.unwrap();
    let channel = plugin.choose().unwrap().channel().unwrap();
    let mut client = transom_process::call::proto::plugin_client::PluginClient::new(channel);
    let answer = tokio::time::timeout(PATIENCE, client.call(Request::default()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.into_inner().status, 1);
    plugin.stop().await;
}
