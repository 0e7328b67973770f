//! From the configuration's node to a [`Spec`].

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use transom_api::node::known;
use transom_api::{Fields, Level, Node, ParseError};

use super::{
    Bounds, CgroupBounds, Health, Logging, Protocol, Restart, Spec, Swap, Trust, TrustedFile,
    Variable,
};
use crate::launch::profile::{Files, Limits, Network, Profile};

/// Most instances of one plugin.
const MAX_INSTANCES: i64 = 256;

impl Spec {
    /// Reads a plugin's declaration. Keys that are not known are errors; `runtime` was read by whoever chose this runtime.
    pub fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        fields.optional("runtime");
        let spec = Self::read(node, &mut fields)?;
        fields.finish()?;
        Ok(spec)
    }

    /// Reads the keys of a declaration that are the supervisor's, and leaves the rest to the caller.
    pub fn read(node: &Node, fields: &mut Fields<'_>) -> Result<Self, ParseError> {
        let command = fields
            .required("command")
            .map_err(|error| error.with_help("write `command: [./program, argument]`"))?;
        let mut spec = Self::new(words(command)?);
        if spec.program().is_empty() {
            return Err(command
                .error("the command is empty")
                .with_help("write `command: [./program, argument]`"));
        }
        if let Some(args) = fields.optional("args") {
            spec.command.extend(texts(args)?);
        }
        if let Some(env) = fields.optional("env") {
            spec.env = env
                .as_list()?
                .iter()
                .map(variable)
                .collect::<Result<_, _>>()?;
        }
        spec.cwd = fields.optional("cwd").map(path).transpose()?;
        if let Some(protocol) = fields.optional("protocol") {
            spec.protocol = one_of(protocol, "protocols", &Protocol::ALL)?;
        }
        let address = fields.optional("address");
        spec.address = address.map(address_of).transpose()?;
        check_address(node, address, &spec)?;
        if let Some(instances) = fields.optional("instances") {
            let count = instances.as_integer_in(1..=MAX_INSTANCES)?;
            spec.instances = u32::try_from(count)
                .ok()
                .and_then(NonZeroU32::new)
                .unwrap_or(NonZeroU32::MIN);
        }
        if let (Some(address), true) = (address, spec.instances.get() > 1) {
            return Err(address
                .error("several instances cannot listen at one address")
                .with_help("leave out `instances`, or declare a plugin for each address"));
        }
        if let Some(restart) = fields.optional("restart") {
            spec.restart = restart_of(restart)?;
        }
        duration(fields, "start_timeout", &mut spec.start_timeout)?;
        duration(fields, "stop_timeout", &mut spec.stop_timeout)?;
        duration(fields, "drain_timeout", &mut spec.drain_timeout)?;
        if let Some(health) = fields.optional("health") {
            spec.health = health_of(health)?;
        }
        if let Some(bounds) = fields.optional("bounds") {
            spec.bounds = bounds_of(bounds)?;
            // Whoever says how long an answer may take means the first ones too.
            if spec.bounds.time != Bounds::default().time {
                spec.warm_up = Duration::ZERO;
            }
        }
        if let Some(warm_up) = fields.optional("warm_up") {
            spec.warm_up = warm_up.as_duration()?;
        }
        spec.memory = fields.optional("memory").map(Node::as_size).transpose()?;
        spec.sandbox = fields
            .optional("sandbox")
            .map(sandbox_of)
            .transpose()?
            .flatten();
        if let Some(cgroup) = fields.optional("cgroup") {
            spec.cgroup = cgroup_of(cgroup)?;
        }
        spec.trust = trust_of(fields)?;
        if let Some(log) = fields.optional("log") {
            spec.log = log_of(log)?;
        }
        if let Some(procs) = fields.optional("max_procs") {
            spec.max_procs = procs.as_integer()?;
        }
        spec.log_base = fields.optional("log_base").map(path).transpose()?;
        let origin = fields.optional("origin").map(Node::as_str).transpose()?;
        spec.origin = origin.map(str::to_owned);
        if let Some(swap) = fields.optional("swap") {
            spec.swap = swap_of(swap)?;
        }
        Ok(spec)
    }
}

fn check_address(node: &Node, address: Option<&Node>, spec: &Spec) -> Result<(), ParseError> {
    let protocol = spec.protocol.name();
    match (address, spec.protocol.has_address()) {
        (None, true) => Err(node
            .error(format!("a plugin with `protocol: {protocol}` needs an `address`"))
            .with_help("it prints no handshake: write where it listens, `address: 127.0.0.1:9000` or `address: unix:/run/x.sock`")),
        (Some(address), false) => Err(address
            .error(format!("a plugin with `protocol: {protocol}` has no `address`"))
            .with_help("leave it out: only ext_proc, ext_authz and als listen at an address that is configured")),
        _ => Ok(()),
    }
}

/// One text, or a list of them.
fn words(node: &Node) -> Result<Vec<String>, ParseError> {
    match node.as_str() {
        Ok(text) => Ok(vec![text.to_owned()]),
        Err(_) => texts(node),
    }
}

fn texts(node: &Node) -> Result<Vec<String>, ParseError> {
    node.as_list()?
        .iter()
        .map(|item| {
            let text = item.as_str()?;
            if text.contains('\0') {
                return Err(item.error("a command cannot hold a zero byte"));
            }
            Ok(text.to_owned())
        })
        .collect()
}

fn path(node: &Node) -> Result<PathBuf, ParseError> {
    let text = node.as_str()?;
    if text.is_empty() || text.contains('\0') {
        return Err(node.error("expected a path"));
    }
    Ok(PathBuf::from(text))
}

fn variable(node: &Node) -> Result<Variable, ParseError> {
    let text = node.as_str()?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() || text.contains('\0') {
        return Err(node
            .error(format!("{text:?} is no variable"))
            .with_help("write `NAME` to pass the proxy's own value on, or `NAME=value`"));
    }
    Ok(match value {
        Some(value) => Variable::Set(name.to_owned(), value.to_owned()),
        None => Variable::Inherit(name.to_owned()),
    })
}

fn address_of(node: &Node) -> Result<String, ParseError> {
    let text = node.as_str()?;
    let good = match text.strip_prefix("unix:") {
        Some(path) => !path.is_empty() && !path.contains('\0'),
        None => text.parse::<std::net::SocketAddr>().is_ok(),
    };
    if !good {
        return Err(node.error(format!("{text:?} is no address")).with_help(
            "write an IP address and a port, `127.0.0.1:9000`, or `unix:/path/to/socket`",
        ));
    }
    Ok(text.to_owned())
}

fn one_of<T: Copy>(node: &Node, what: &str, all: &[(&'static str, T)]) -> Result<T, ParseError> {
    let text = node.as_str()?;
    let found = all.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        node.error(format!("there is no {text:?} here"))
            .with_help(known(text, what, &names))
    })
}

fn duration(
    fields: &mut Fields<'_>,
    name: &'static str,
    into: &mut Duration,
) -> Result<(), ParseError> {
    if let Some(node) = fields.optional(name) {
        let value = node.as_duration()?;
        if value.is_zero() {
            return Err(node.error(format!("`{name}` must be longer than nothing")));
        }
        *into = value;
    }
    Ok(())
}

fn number(fields: &mut Fields<'_>, name: &'static str, into: &mut u32) -> Result<(), ParseError> {
    if let Some(node) = fields.optional(name) {
        *into = node.as_integer()?;
    }
    Ok(())
}

/// At least one.
fn count(fields: &mut Fields<'_>, name: &'static str, into: &mut u32) -> Result<(), ParseError> {
    if let Some(node) = fields.optional(name) {
        *into = u32::try_from(node.as_integer_in(1..=i64::from(u32::MAX))?).unwrap_or(u32::MAX);
    }
    Ok(())
}

fn restart_of(node: &Node) -> Result<Restart, ParseError> {
    let mut restart = Restart::default();
    let mut fields = node.as_fields()?;
    if let Some(backoff) = fields.optional("backoff") {
        (restart.first, restart.longest) = range(backoff)?;
    }
    if let Some(jitter) = fields.optional("jitter") {
        restart.jitter = part(jitter)?;
    }
    number(&mut fields, "limit", &mut restart.limit)?;
    duration(&mut fields, "window", &mut restart.window)?;
    fields.finish()?;
    Ok(restart)
}

/// `100ms..10s`.
fn range(node: &Node) -> Result<(Duration, Duration), ParseError> {
    let help = "write the first and the longest pause: `100ms..10s`";
    let text = node.as_str()?;
    let both = text.split_once("..").and_then(|(first, longest)| {
        let first = transom_api::units::parse_duration(first.trim()).ok()?;
        let longest = transom_api::units::parse_duration(longest.trim()).ok()?;
        Some((first, longest))
    });
    match both {
        Some((first, longest)) if !first.is_zero() && first <= longest => Ok((first, longest)),
        Some(_) => Err(node
            .error(format!("{text:?} does not begin with the shorter pause"))
            .with_help(help)),
        None => Err(node
            .error(format!("{text:?} is no range of durations"))
            .with_help(help)),
    }
}

/// A number from 0 to 1.
fn part(node: &Node) -> Result<f64, ParseError> {
    let value = node.as_number()?;
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(node.error(format!("expected a number from 0 to 1, found {value}")))
}

fn health_of(node: &Node) -> Result<Health, ParseError> {
    let mut health = Health::default();
    let mut fields = node.as_fields()?;
    if let Some(interval) = fields.optional("interval") {
        health.interval = interval.as_duration()?;
    }
    duration(&mut fields, "timeout", &mut health.timeout)?;
    count(&mut fields, "unhealthy", &mut health.unhealthy)?;
    count(&mut fields, "healthy", &mut health.healthy)?;
    number(&mut fields, "timeouts", &mut health.timeouts)?;
    fields.finish()?;
    Ok(health)
}

fn bounds_of(node: &Node) -> Result<Bounds, ParseError> {
    let mut bounds = Bounds::default();
    let mut fields = node.as_fields()?;
    count(&mut fields, "concurrency", &mut bounds.concurrency)?;
    number(&mut fields, "queue", &mut bounds.queue)?;
    duration(&mut fields, "queue_time", &mut bounds.queue_time)?;
    duration(&mut fields, "time", &mut bounds.time)?;
    if let Some(size) = fields.optional("message_size") {
        let bytes = size.as_size()?;
        // HTTP/2 and gRPC count to 2^31 - 1.
        bounds.message_size = i32::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes >= 1024)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| {
                size.error("a message has at least 1KiB and less than 2GiB")
                    .with_help("4MiB is what gRPC's libraries allow unless told otherwise")
            })?;
    }
    fields.finish()?;
    Ok(bounds)
}

/// A named profile, or its keys. `none` is no sandbox.
fn sandbox_of(node: &Node) -> Result<Option<Profile>, ParseError> {
    if let Ok(name) = node.as_str() {
        return match name {
            "none" => Ok(None),
            "default" => Ok(Some(Profile::default())),
            "strict" => Ok(Some(Profile::strict())),
            _ => Err(node
                .error(format!("there is no sandbox {name:?}"))
                .with_help(known(name, "sandboxes", &["none", "default", "strict"]))),
        };
    }
    let mut fields = node.as_fields()?;
    let mut profile = match fields.optional("base") {
        None => Profile::default(),
        Some(base) => {
            one_of(base, "bases", &[("default", false), ("strict", true)]).map(|strict| {
                if strict {
                    Profile::strict()
                } else {
                    Profile::default()
                }
            })?
        }
    };
    let flags: [(&'static str, &mut bool); 5] = [
        ("no_new_privs", &mut profile.no_new_privs),
        ("scoped", &mut profile.scoped),
        ("system_calls", &mut profile.system_calls),
        ("subprocesses", &mut profile.subprocesses),
        ("required", &mut profile.required),
    ];
    for (name, flag) in flags {
        if let Some(value) = fields.optional(name) {
            *flag = value.as_bool()?;
        }
    }
    if let Some(user) = fields.optional("user") {
        profile.user = Some(user.as_str()?.to_owned());
    }
    if let Some(limits) = fields.optional("limits") {
        profile.limits = limits_of(limits)?;
    }
    if let Some(files) = fields.optional("files") {
        profile.files = Some(files_of(files)?);
    }
    if let Some(network) = fields.optional("network") {
        profile.network = network_of(network)?;
    }
    fields.finish()?;
    if !profile.no_new_privs
        && (profile.files.is_some()
            || profile.system_calls
            || !profile.subprocesses
            || profile.network.is_some()
            || profile.scoped)
    {
        return Err(node
            .error("without `no_new_privs` neither Landlock nor seccomp can be had")
            .with_help("leave `no_new_privs` on, or use only `user` and `limits` and `system_calls: false`"));
    }
    Ok(Some(profile))
}

fn limits_of(node: &Node) -> Result<Limits, ParseError> {
    let mut limits = Limits::default();
    let mut fields = node.as_fields()?;
    limits.open_files = fields
        .optional("open_files")
        .map(Node::as_integer)
        .transpose()?;
    limits.processes = fields
        .optional("processes")
        .map(Node::as_integer)
        .transpose()?;
    limits.address_space = fields
        .optional("address_space")
        .map(Node::as_size)
        .transpose()?;
    limits.file_size = fields
        .optional("file_size")
        .map(Node::as_size)
        .transpose()?;
    limits.core = fields.optional("core").map(Node::as_size).transpose()?;
    if let Some(cpu) = fields.optional("cpu") {
        limits.cpu = Some(cpu.as_duration()?.as_secs().max(1));
    }
    fields.finish()?;
    Ok(limits)
}

fn files_of(node: &Node) -> Result<Files, ParseError> {
    let mut fields = node.as_fields()?;
    let mut paths = |name| -> Result<Vec<PathBuf>, ParseError> {
        let list = fields.optional(name).map(Node::as_list).transpose()?;
        list.unwrap_or_default().iter().map(path).collect()
    };
    let files = Files {
        read: paths("read")?,
        write: paths("write")?,
        execute: paths("execute")?,
    };
    fields.finish()?;
    Ok(files)
}

/// `any`, `none`, or ports.
fn network_of(node: &Node) -> Result<Option<Network>, ParseError> {
    if let Ok(text) = node.as_str() {
        return match text {
            "any" => Ok(None),
            "none" => Ok(Some(Network {
                none: true,
                ..Network::default()
            })),
            _ => Err(node
                .error(format!("there is no network {text:?}"))
                .with_help("write `none`, `any`, or `{connect: [443], bind: []}`")),
        };
    }
    let mut fields = node.as_fields()?;
    let mut ports = |name| -> Result<Vec<u16>, ParseError> {
        let list = fields.optional(name).map(Node::as_list).transpose()?;
        list.unwrap_or_default()
            .iter()
            .map(Node::as_integer)
            .collect()
    };
    let network = Network {
        connect: ports("connect")?,
        bind: ports("bind")?,
        none: false,
    };
    fields.finish()?;
    Ok(Some(network))
}

fn trust_of(fields: &mut Fields<'_>) -> Result<Trust, ParseError> {
    let sha256 = fields.optional("sha256").map(digest).transpose()?;
    let minisign = match fields.optional("minisign") {
        None => None,
        Some(node) => {
            let key = node.as_str()?;
            crate::launch::trust::key(key).map_err(|why| {
                node.error(format!("this is no minisign key: {why}")).with_help(
                    "write the second line of the `.pub` file that `minisign -G` made; it begins with RW",
                )
            })?;
            Some(key.to_owned())
        }
    };
    let mut files = Vec::new();
    if let Some(node) = fields.optional("files") {
        for item in node.as_list()? {
            files.push(trusted_file(item)?);
        }
    }
    if minisign.is_none()
        && let (Some(node), Some(file)) = (
            fields.optional("files"),
            files
                .iter()
                .find(|file: &&TrustedFile| file.sha256.is_none()),
        )
    {
        return Err(node
            .error(format!("nothing is asked of {}", file.path.display()))
            .with_help("give it a `sha256`, or the plugin a `minisign` key"));
    }
    Ok(Trust {
        sha256,
        minisign,
        files,
    })
}

fn trusted_file(node: &Node) -> Result<TrustedFile, ParseError> {
    if node.as_str().is_ok() {
        return Ok(TrustedFile {
            path: path(node)?,
            sha256: None,
        });
    }
    let mut fields = node.as_fields()?;
    let file = TrustedFile {
        path: path(fields.required("path")?)?,
        sha256: fields.optional("sha256").map(digest).transpose()?,
    };
    fields.finish()?;
    Ok(file)
}

fn digest(node: &Node) -> Result<[u8; 32], ParseError> {
    let text = node.as_str()?;
    crate::launch::trust::digest(text).ok_or_else(|| {
        node.error("a SHA-256 has 64 hexadecimal digits")
            .with_help("`sha256sum FILE` prints it")
    })
}

fn log_of(node: &Node) -> Result<Logging, ParseError> {
    let mut log = Logging::default();
    let mut fields = node.as_fields()?;
    for (name, into) in [("stdout", &mut log.stdout), ("stderr", &mut log.stderr)] {
        if let Some(level) = fields.optional(name) {
            *into = one_of(level, "levels", &LEVELS)?;
        }
    }
    count(&mut fields, "lines_per_second", &mut log.lines_per_second)?;
    fields.finish()?;
    Ok(log)
}

const LEVELS: [(&str, Option<Level>); 6] = [
    ("trace", Some(Level::Trace)),
    ("debug", Some(Level::Debug)),
    ("info", Some(Level::Info)),
    ("warn", Some(Level::Warn)),
    ("error", Some(Level::Error)),
    ("off", None),
];

fn cgroup_of(node: &Node) -> Result<CgroupBounds, ParseError> {
    let mut bounds = CgroupBounds::default();
    let mut fields = node.as_fields()?;
    if let Some(processes) = fields.optional("processes") {
        bounds.processes = u32::try_from(processes.as_integer_in(1..=4_194_304)?).ok();
    }
    if let Some(cpu) = fields.optional("cpu") {
        let cores = cpu.as_number()?;
        if !(0.01..=10_000.0).contains(&cores) {
            return Err(cpu
                .error(format!(
                    "expected a number of cores from 0.01 to 10000, found {cores}"
                ))
                .with_help("0.5 is half a core, 2 are two"));
        }
        bounds.cpu = Some(cores);
    }
    if let Some(required) = fields.optional("required") {
        bounds.required = required.as_bool()?;
    }
    fields.finish()?;
    Ok(bounds)
}

fn swap_of(node: &Node) -> Result<Swap, ParseError> {
    let mut swap = Swap::default();
    let mut fields = node.as_fields()?;
    if let Some(on_reload) = fields.optional("on_reload") {
        swap.on_reload = on_reload.as_bool()?;
    }
    if let Some(share) = fields.optional("share") {
        swap.share = u8::try_from(share.as_integer_in(0..=100)?).unwrap_or(100);
    }
    duration(&mut fields, "watch", &mut swap.watch)?;
    number(&mut fields, "calls", &mut swap.calls)?;
    for (name, into) in [("errors", &mut swap.errors), ("latency", &mut swap.latency)] {
        if let Some(node) = fields.optional(name) {
            let value = node.as_number()?;
            if !(0.0..=1000.0).contains(&value) {
                return Err(node.error(format!("expected a number from 0 to 1000, found {value}")));
            }
            *into = value;
        }
    }
    fields.finish()?;
    Ok(swap)
}
