//! What a plugin is given: variables, folders, groups, ports, descriptors, standard input.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use transom_goplugin::host::{Client, Environment, PluginStdin, UnixSockets};
use transom_goplugin::{HandshakeConfig, PluginAddr, host::ClientConfig};

use crate::support::{Folder, assert_answers, config, example, handshake, shell};

/// The variables that a plugin saw, by a plugin that writes them down and ends.
async fn seen(change: impl FnOnce(ClientConfig) -> ClientConfig) -> Vec<String> {
    let folder = Folder::new();
    let file = folder.join("env");
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(format!("/usr/bin/env > {}", file.display()));
    command.env("OWN", "own");
    let handshake = HandshakeConfig::new(5, "COOKIE", "value");
    let config = ClientConfig::new(handshake).command(command);
    Client::start(change(config)).await.unwrap_err();
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn has(seen: &[String], line: &str) -> bool {
    seen.iter().any(|seen| seen == line)
}

fn names(seen: &[String], name: &str) -> bool {
    seen.iter()
        .any(|seen| seen.starts_with(&format!("{name}=")))
}

#[tokio::test]
async fn the_protocols_variables_are_gos() {
    let seen = seen(|config| {
        config
            .versioned_plugins(6, Default::default())
            .versioned_plugins(5, Default::default())
            .auto_mtls(true)
            .grpc_broker_multiplex(true)
            .ports(1000, 2000)
    })
    .await;
    for line in [
        "COOKIE=value",
        "PLUGIN_PROTOCOL_VERSIONS=6,5",
        "PLUGIN_MULTIPLEX_GRPC=true",
        "PLUGIN_MIN_PORT=1000",
        "PLUGIN_MAX_PORT=2000",
        "PLUGIN_CLIENT_CERT=-----BEGIN CERTIFICATE-----",
        "OWN=own",
    ] {
        assert!(has(&seen, line), "{line} in {seen:?}");
    }
    assert!(names(&seen, "PLUGIN_UNIX_SOCKET_DIR") && names(&seen, "PATH"));
}

#[tokio::test]
async fn by_default_there_is_neither_certificate_nor_multiplexing() {
    let seen = seen(|config| config).await;
    for name in [
        "PLUGIN_CLIENT_CERT",
        "PLUGIN_MULTIPLEX_GRPC",
        "PLUGIN_UNIX_SOCKET_GROUP",
    ] {
        assert!(!names(&seen, name), "{name}");
    }
    assert!(has(&seen, "PLUGIN_MIN_PORT=10000") && has(&seen, "PLUGIN_MAX_PORT=25000"));
    assert!(has(&seen, "PLUGIN_PROTOCOL_VERSIONS=5"));
}

#[tokio::test]
async fn the_hosts_variables_can_be_held_back() {
    let none = seen(|config| config.environment(Environment::Empty)).await;
    assert!(!names(&none, "PATH") && !names(&none, "CARGO_MANIFEST_DIR"));
    assert!(has(&none, "OWN=own") && has(&none, "COOKIE=value"));
    let some = seen(|config| config.environment(Environment::Allowed(vec!["PATH".into()]))).await;
    assert!(names(&some, "PATH") && !names(&some, "CARGO_MANIFEST_DIR"));
}

#[tokio::test]
async fn sockets_lie_in_a_private_folder_that_goes_with_the_plugin() {
    let base = Folder::new();
    let sockets = UnixSockets {
        folder: Some(base.path().to_owned()),
        group: None,
    };
    let client = Client::start(config().unix_sockets(sockets)).await.unwrap();
    let PluginAddr::Unix(socket) = client.address().clone() else {
        panic!("{}", client.address());
    };
    let folder = socket.parent().unwrap();
    assert_eq!(folder.parent(), Some(base.path()));
    assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
    client.kill().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_group_may_use_the_sockets() {
    // Only root may give files to a group that it is not in.
    let group = if rustix::process::geteuid().is_root() {
        1
    } else {
        rustix::process::getegid().as_raw()
    };
    let sockets = UnixSockets {
        folder: None,
        group: Some(group.to_string()),
    };
    let client = Client::start(config().unix_sockets(sockets)).await.unwrap();
    let PluginAddr::Unix(socket) = client.address().clone() else {
        panic!("{}", client.address());
    };
    let (file, folder) = (
        socket.metadata().unwrap(),
        socket.parent().unwrap().metadata().unwrap(),
    );
    assert_eq!((file.gid(), file.mode() & 0o777), (group, 0o660));
    assert_eq!((folder.gid(), folder.mode() & 0o777), (group, 0o770));
    assert_answers(&client).await;
    client.kill().await;
}

#[tokio::test]
async fn a_folder_that_is_too_long_for_sockets_is_an_error_before_the_start() {
    let base = Folder::new();
    let long = base.join(&"x".repeat(100));
    std::fs::create_dir(&long).unwrap();
    let sockets = UnixSockets {
        folder: Some(long),
        group: None,
    };
    let error = Client::start(config().unix_sockets(sockets))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("too long for sockets"),
        "{error}"
    );
}

#[tokio::test]
async fn a_tcp_plugin_takes_a_port_of_the_range() {
    // A port that is free now, found by binding it.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let max = port.saturating_add(20);
    for mtls in [false, true] {
        let mut command = Command::new(example("interop_plugin"));
        command.env("PEER_TCP", "1");
        let config = ClientConfig::new(handshake())
            .command(command)
            .ports(port, max)
            .auto_mtls(mtls);
        let client = Client::start(config).await.unwrap();
        let PluginAddr::Tcp(address) = client.address() else {
            panic!("{}", client.address());
        };
        assert!(
            address.ip().is_loopback() && (port..=max).contains(&address.port()),
            "{address}"
        );
        assert_answers(&client).await;
        client.kill().await;
    }
}

#[tokio::test]
async fn the_hosts_descriptors_stay_the_hosts() {
    // A descriptor without FD_CLOEXEC, as one that was inherited has none.
    let file = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(file.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let folder = Folder::new();
    let list = folder.join("fds");
    Client::start(shell(&format!("ls -l /proc/self/fd > {}", list.display())))
        .await
        .unwrap_err();
    let list = std::fs::read_to_string(list).unwrap();
    // 0, 1, 2 and the one that `ls` reads the folder by; its lines are "… N -> target".
    let open: Vec<&str> = list.lines().filter(|line| line.contains(" -> ")).collect();
    assert_eq!(open.len(), 4, "{list}");
}

#[tokio::test]
async fn standard_input_is_nothing_unless_it_is_asked_for() {
    let error = Client::start(shell("cat; exit 7")).await.unwrap_err();
    assert!(error.to_string().contains("exit code 7"), "{error}");
    // What an inherited one carries is shown by a terminal in `lifetime`; here only that it is the host's own file.
    let folder = Folder::new();
    let file = folder.join("stdin");
    let script = format!("readlink /proc/self/fd/0 > {}", file.display());
    Client::start(shell(&script).stdin(PluginStdin::Inherited))
        .await
        .unwrap_err();
    let own = std::fs::read_link("/proc/self/fd/0").unwrap();
    assert_eq!(
        std::fs::read_to_string(file).unwrap().trim_end(),
        own.to_str().unwrap()
    );
}
