//! One process of a plugin, whatever it speaks.

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use transom_goplugin::host::{self, ClientConfig, Connector, Environment, Exit, Program};
use transom_goplugin::{Channel, HandshakeConfig, PluginAddr};

use super::error::StartError;
use super::output::Output;
use super::spec::{Protocol, Spec, Variable};
use crate::launch::{Cgroup, Launcher, Order, cgroup};

/// The cookie of `transom.plugin.v1`.
pub const COOKIE: (&str, &str) = ("TRANSOM_PLUGIN_COOKIE", "transom.plugin.v1");

/// What a plugin always gets of the proxy's variables: where programs are, language, time zone, temporary folder.
const PASSED: [&str; 5] = ["PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// How often a server is knocked at until it accepts.
const KNOCK: Duration = Duration::from_millis(5);

/// Where plugins are started, and by what.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where relative paths begin: the configuration's folder.
    pub folder: Arc<Path>,
    /// What sets up a sandbox and verifies files, in the child.
    pub launcher: Launcher,
}

/// A running process.
pub(super) enum Child {
    /// With go-plugin's handshake.
    Plugin(Box<host::Client>, Connector),
    /// At an address.
    Server(Program, Connector, Channel),
    /// Without a protocol.
    Plain(Program),
}

impl Child {
    /// Starts it, and waits until it is ready.
    pub(super) async fn start(
        spec: &Spec,
        place: &Place,
        output: &Arc<Output>,
        cgroup: Option<&Cgroup>,
    ) -> Result<Self, StartError> {
        let (command, environment) = command(spec, place, cgroup)?;
        let launched = is_launched(spec, cgroup);
        match spec.protocol {
            Protocol::Transom => {
                let handshake = HandshakeConfig::new(1, COOKIE.0, COOKIE.1);
                plugin(spec, output, (command, environment, launched), handshake).await
            }
            Protocol::Call => {
                let handshake = crate::call::handshake();
                plugin(spec, output, (command, environment, launched), handshake).await
            }
            Protocol::ExtProc | Protocol::ExtAuthz | Protocol::Als => {
                server(spec, place, output, (command, environment, launched)).await
            }
            Protocol::None => {
                let program = Program::start(
                    command,
                    environment,
                    output.stdout(),
                    output.stderr(launched),
                )
                .await?;
                Ok(Self::Plain(program))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Plugin(client, _) => client.pid(),
            Self::Server(program, ..) | Self::Plain(program) => program.pid(),
        }
    }

    pub(super) fn version(&self) -> i32 {
        match self {
            Self::Plugin(client, _) => client.negotiated_version(),
            Self::Server(..) | Self::Plain(_) => 0,
        }
    }

    pub(super) fn connector(&self) -> Option<Connector> {
        match self {
            Self::Plugin(_, connector) | Self::Server(_, connector, _) => Some(connector.clone()),
            Self::Plain(_) => None,
        }
    }

    pub(super) fn channel(&self) -> Option<Channel> {
        match self {
            Self::Plugin(client, _) => Some(client.channel()),
            Self::Server(_, _, channel) => Some(channel.clone()),
            Self::Plain(_) => None,
        }
    }

    /// Whether it is well; a plain program is while it runs.
    pub(super) async fn ping(&self) -> Result<(), String> {
        match self {
            Self::Plugin(client, _) => client.ping().await.map_err(|status| status.to_string()),
            Self::Server(_, _, channel) => match host::serving(channel).await {
                Ok(true) => Ok(()),
                Ok(false) => Err("it says that it does not serve".to_owned()),
                Err(status) => Err(status.to_string()),
            },
            Self::Plain(_) => Ok(()),
        }
    }

    /// Resolves as soon as the process has ended.
    pub(super) async fn ended(&self) {
        match self {
            Self::Plugin(_, connector) => connector.ended().await,
            Self::Server(program, ..) | Self::Plain(program) => program.ended().await,
        }
    }

    /// How it ended, once its output is read.
    pub(super) async fn exit(&self) -> Exit {
        match self {
            Self::Plugin(client, _) => client.wait().await,
            Self::Server(program, ..) | Self::Plain(program) => program.wait().await,
        }
    }

    /// Tells it to end, and kills it when it does not.
    pub(super) async fn stop(&self, patience: Duration) {
        match self {
            // It was told its patience when it was started.
            Self::Plugin(client, _) => client.kill().await,
            Self::Server(program, ..) | Self::Plain(program) => program.stop(patience).await,
        }
    }
}

async fn plugin(
    spec: &Spec,
    output: &Arc<Output>,
    (command, environment, launched): (Command, Environment, bool),
    handshake: HandshakeConfig,
) -> Result<Child, StartError> {
    let config = ClientConfig::new(handshake)
        .command(command)
        .environment(environment)
        .start_timeout(spec.start_timeout)
        .stop_timeout(spec.stop_timeout)
        .sync_stdout(output.writer())
        .stdout(output.stdout())
        .log(output.stderr(launched));
    let client = host::Client::start(config).await?;
    let connector = client.connector().map_err(StartError::Connect)?;
    Ok(Child::Plugin(Box::new(client), connector))
}

async fn server(
    spec: &Spec,
    place: &Place,
    output: &Arc<Output>,
    (command, environment, launched): (Command, Environment, bool),
) -> Result<Child, StartError> {
    let deadline = Instant::now() + spec.start_timeout;
    let text = spec.address.as_deref().unwrap_or_default();
    let address =
        address(text, &place.folder).ok_or_else(|| StartError::Address(text.to_owned()))?;
    if knock(&address).await {
        return Err(StartError::Taken(text.to_owned()));
    }
    if let PluginAddr::Unix(path) = &address {
        // Nobody listens there: what is left of the last process keeps the next from binding. Nothing but a socket is taken away.
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            let _ = std::fs::remove_file(path);
        }
    }
    let program = Program::start(
        command,
        environment,
        output.stdout(),
        output.stderr(launched),
    )
    .await?;
    let connector = Connector::to(address.clone(), program.gone());
    let ready = async {
        while !knock(&address).await {
            tokio::time::sleep(KNOCK).await;
        }
        loop {
            if let Ok(channel) = connector.connect().await {
                match host::serving(&channel).await {
                    Ok(true) => return channel,
                    Ok(false) | Err(_) => tokio::time::sleep(KNOCK).await,
                }
            } else {
                tokio::time::sleep(KNOCK).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = program.ended() => {
            let exit = program.wait().await;
            Err(StartError::Exited { exit, said: said(output) })
        }
        channel = ready => Ok(Child::Server(program, connector, channel)),
        () = tokio::time::sleep_until(deadline) => {
            program.kill().await;
            Err(StartError::NotReady {
                address: text.to_owned(),
                after: spec.start_timeout,
                said: said(output),
            })
        }
    }
}

/// The last words of a process, as an addition to a message.
fn said(output: &Output) -> String {
    let tail = output.tail();
    let last = tail
        .get(tail.len().saturating_sub(10)..)
        .unwrap_or_default();
    match last {
        [] => String::new(),
        lines => format!("\nIt printed:\n{}", lines.join("\n")),
    }
}

fn address(text: &str, folder: &Path) -> Option<PluginAddr> {
    match text.strip_prefix("unix:") {
        Some(path) => Some(PluginAddr::Unix(folder.join(path))),
        None => text.parse().ok().map(PluginAddr::Tcp),
    }
}

/// Whether somebody accepts at the address.
async fn knock(address: &PluginAddr) -> bool {
    match address {
        PluginAddr::Unix(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
        PluginAddr::Tcp(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
    }
}

/// Whether a launcher stands between the fork and the program.
fn is_launched(spec: &Spec, cgroup: Option<&Cgroup>) -> bool {
    spec.sandbox.is_some() || !spec.trust.is_empty() || cgroup.is_some()
}

/// The command that is run: the plugin's own, or the launcher's, which becomes it.
fn command(
    spec: &Spec,
    place: &Place,
    cgroup: Option<&Cgroup>,
) -> Result<(Command, Environment), StartError> {
    let written = Path::new(spec.program());
    let program =
        find(written, &place.folder).ok_or_else(|| StartError::NotFound(written.to_owned()))?;
    let arguments = spec.command.iter().skip(1);
    let mut command = if !is_launched(spec, cgroup) {
        let mut command = Command::new(&program);
        command.args(arguments);
        command
    } else {
        let order = Order {
            cgroup: cgroup.map(|group| group.path().to_owned()),
            profile: spec.sandbox.clone(),
            program,
            arguments: spec.command.clone(),
            folder: place.folder.to_path_buf(),
            sha256: spec.trust.sha256,
            minisign: spec.trust.minisign.clone(),
            files: spec
                .trust
                .files
                .iter()
                .map(|file| (file.path.clone(), file.sha256))
                .collect(),
        };
        place.launcher.command(&order)?
    };
    if let Some(cwd) = &spec.cwd {
        command.current_dir(place.folder.join(cwd));
    }
    let mut allowed: Vec<String> = PASSED.map(str::to_owned).to_vec();
    for variable in &spec.env {
        match variable {
            Variable::Inherit(name) => allowed.push(name.clone()),
            Variable::Set(name, value) => {
                command.env(name, value);
            }
        }
    }
    if spec.protocol == Protocol::Call {
        crate::call::environment(&mut command, spec.max_procs, spec.log_base.as_deref());
    }
    Ok((command, Environment::Allowed(allowed)))
}

/// The cgroup of a process to come; `None` where none was delegated, or nothing asks for one.
pub(super) fn cgroup_of(
    name: &str,
    spec: &Spec,
    place: &Place,
) -> Result<Option<Cgroup>, StartError> {
    let bounds = cgroup::Bounds {
        memory: spec.memory,
        processes: spec.cgroup.processes,
        cpu: spec.cgroup.cpu,
    };
    let required = spec.cgroup.required;
    let Some(delegated) = place.launcher.cgroup() else {
        return match required {
            true => Err(StartError::Cgroup(
                "none was delegated: run Transom with systemd's `Delegate=yes`, or name a cgroup of its own in TRANSOM_CGROUP".to_owned(),
            )),
            false => Ok(None),
        };
    };
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().take(64).map(safe).collect();
    match delegated.group(&name, &bounds) {
        Ok(group) if required && !group.missing.is_empty() => Err(StartError::Cgroup(format!(
            "the kernel has no controller here for: {}",
            group.missing.join(", ")
        ))),
        Ok(group) => Ok(Some(group)),
        Err(error) if required => Err(StartError::Cgroup(error.to_string())),
        Err(error) => {
            tracing::warn!(plugin = name, %error, "the plugin runs without a cgroup");
            Ok(None)
        }
    }
}

/// Where a program is. One without a slash is looked up in `PATH`, as the shell does.
fn find(program: &Path, folder: &Path) -> Option<PathBuf> {
    let bytes = program.as_os_str().as_encoded_bytes();
    if bytes.contains(&b'/') {
        // One that is not there is told by the system, with what it knows.
        return Some(folder.join(program));
    }
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
