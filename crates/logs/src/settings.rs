//! The configuration of an access log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use transom_api::node::known;
use transom_api::{Node, ParseError, Schema, Shape};

use crate::format::{self, Format};
use crate::host_name;
use crate::target::Target;
use crate::when::When;

/// Where an access log goes, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Stdout,
    Stderr,
    Syslog,
}

/// What an access log is.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) target: Target,
    pub(crate) format: Format,
    pub(crate) when: When,
    pub(crate) buffer: BufferSettings,
}

/// How lines are kept before they are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferSettings {
    /// Bytes that a worker may be ahead of the sink.
    pub(crate) size: usize,
    /// How long a line may wait for others.
    pub(crate) flush_interval: Duration,
}

/// Some thousand lines: a disk may stand still for a moment without a loss.
const BUFFER_SIZE: u64 = 1 << 20;
const SMALLEST_BUFFER: u64 = 16 << 10;
const LARGEST_BUFFER: u64 = 1 << 30;
/// A person who follows the file does not wait for long, and a busy worker hands over full buffers anyway.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];
const SEVERITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::File, Self::Stdout, Self::Stderr, Self::Syslog];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Syslog => "syslog",
        }
    }

    pub(crate) fn schema(self) -> Schema {
        let schema = Schema::object();
        let schema = match self {
            Self::File => schema
                .required("path", Schema::string().describe(
                    "The file. Lines are appended; it is made, with mode 0640, if it is not there, and opened again on SIGUSR1 and `POST /reopen_logs`.",
                ))
                .describe("Writes a line for each stream or connection to a file."),
            Self::Stdout => schema.describe("Writes a line for each stream or connection to standard output."),
            Self::Stderr => schema.describe("Writes a line for each stream or connection to standard error."),
            Self::Syslog => schema
                .optional("address", Schema::string()
                    .describe("Where syslog listens: `unix:PATH` of a datagram socket, or `udp:IP:PORT`.")
                    .or("unix:/dev/log"))
                .optional("facility", Schema::new(Shape::OneOf(FACILITIES.to_vec()))
                    .describe("The facility.")
                    .or("local0"))
                .optional("severity", Schema::new(Shape::OneOf(SEVERITIES.to_vec()))
                    .describe("The severity.")
                    .or("info"))
                .optional("app_name", Schema::string()
                    .describe("The name under which lines are sent: up to 48 printable ASCII characters.")
                    .or("transom"))
                .describe("Sends a message (RFC 5424) for each stream or connection to syslog."),
        };
        schema
            .optional("format", Schema::string()
                .describe("A line of text with operators such as %RESPONSE_CODE%. Either this or `json`; by default Envoy's own fields."))
            .optional("json", Schema::map_of(Schema::new(Shape::Any))
                .describe("A line of JSON: a map whose texts may have operators. Either this or `format`."))
            .optional("when", When::case_schema())
            .optional("percentage", When::share_schema())
            .optional("buffer_size", Schema::new(Shape::Size)
                .describe("How many bytes each worker may be ahead of what is written; lines beyond are dropped and counted.")
                .or("1MiB"))
            .optional("flush_interval", Schema::new(Shape::Duration)
                .describe("How long a line may wait for others before it is written.")
                .or("1s"))
    }

    pub(crate) fn parse(self, node: &Node) -> Result<Settings, ParseError> {
        let nothing = Node {
            span: node.span,
            ..Node::map([])
        };
        let node = if node.is_null() { &nothing } else { node };
        let mut fields = node.as_fields()?;
        let mut header = None;
        let target = match self {
            Self::File => {
                let path = fields.required("path")?;
                let text = path.as_str()?;
                if text.is_empty() {
                    return Err(path.error("the path of a file is empty"));
                }
                Target::File(PathBuf::from(text))
            }
            Self::Stdout => Target::Stdout,
            Self::Stderr => Target::Stderr,
            Self::Syslog => {
                let address = fields.optional("address");
                header = Some(syslog_header(
                    fields.optional("facility"),
                    fields.optional("severity"),
                    fields.optional("app_name"),
                )?);
                address.map_or(
                    Ok(Target::SyslogUnix(PathBuf::from("/dev/log"))),
                    syslog_address,
                )?
            }
        };
        let text = fields.optional("format");
        let json = fields.optional("json");
        let when = fields.optional("when");
        let percentage = fields.optional("percentage");
        let size = fields.optional("buffer_size");
        let flush_interval = fields.optional("flush_interval");
        fields.finish()?;
        let format = match (text, json) {
            (Some(_), Some(json)) => {
                return Err(json
                    .error("`format` and `json` exclude each other")
                    .with_help(
                        "two logs may write to one file: use this one twice, with an `id`",
                    ));
            }
            (Some(node), None) => {
                let text = node.as_str()?;
                Format::text(text).map_err(|error| error.in_node(node, text))?
            }
            (None, Some(node)) => Format::json(node)?,
            (None, None) => {
                Format::text(format::DEFAULT).map_err(|error| node.error(error.message))?
            }
        };
        let format = match header {
            Some(header) => format.after(header),
            None => format,
        };
        Ok(Settings {
            target,
            format: format.line(),
            when: When::parse(when, percentage)?,
            buffer: BufferSettings {
                size: usize::try_from(size.map_or(Ok(BUFFER_SIZE), buffer_size)?)
                    .unwrap_or(usize::MAX),
                flush_interval: flush_interval.map_or(Ok(FLUSH_INTERVAL), interval)?,
            },
        })
    }
}

fn buffer_size(node: &Node) -> Result<u64, ParseError> {
    let size = node.as_size()?;
    if !(SMALLEST_BUFFER..=LARGEST_BUFFER).contains(&size) {
        return Err(node
            .error("a buffer has from 16KiB to 1GiB")
            .with_help("each worker has one of its own; 1MiB holds some thousand lines"));
    }
    Ok(size)
}

fn interval(node: &Node) -> Result<Duration, ParseError> {
    let interval = node.as_duration()?;
    if interval > Duration::from_secs(60) {
        return Err(node.error("a line may wait for a minute at the most"));
    }
    Ok(interval)
}

fn syslog_address(node: &Node) -> Result<Target, ParseError> {
    let text = node.as_str()?;
    let refused = || {
        node.error(format!("`{text}` is no address of syslog"))
            .with_help("write unix:/dev/log, or udp:192.0.2.1:514 (names are not looked up)")
    };
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Target::SyslogUnix(PathBuf::from(path)));
    }
    let address = text.strip_prefix("udp:").ok_or_else(refused)?;
    address
        .parse::<SocketAddr>()
        .map(Target::SyslogUdp)
        .map_err(|_| refused())
}

/// The part of a message before its text (RFC 5424 section 6): priority, version, time, host, name, process, no
/// message id and no structured data.
fn syslog_header(
    facility: Option<&Node>,
    severity: Option<&Node>,
    app_name: Option<&Node>,
) -> Result<Format, ParseError> {
    let number = |node: Option<&Node>, names: &[&str], what: &str, default: &str| {
        let name = node.map_or(Ok(default), Node::as_str)?;
        names
            .iter()
            .position(|known| *known == name)
            .ok_or_else(|| {
                let error = format!("unknown {what} `{name}`");
                let help = known(name, "names", names);
                node.map_or_else(
                    || ParseError::new(error.clone()),
                    |node| node.error(error.clone()),
                )
                .with_help(help)
            })
    };
    let facility = number(facility, &FACILITIES, "facility", "local0")?;
    let severity = number(severity, &SEVERITIES, "severity", "info")?;
    let name = app_name.map_or(Ok("transom"), Node::as_str)?;
    let is_printable = |text: &str| text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    if let Some(node) = app_name
        && (name.is_empty() || name.len() > 48 || !is_printable(name))
    {
        return Err(
            node.error("a name for syslog has 1 to 48 printable ASCII characters and no space")
        );
    }
    let mut host = host_name();
    host.retain(|c| c.is_ascii_graphic());
    host.truncate(255);
    let text = format!(
        "<{}>1 %EMIT_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)% {} {} {} - - ",
        facility * 8 + severity,
        host.replace('%', "%%"),
        name.replace('%', "%%"),
        std::process::id(),
    );
    Format::text(&text).map_err(|error| ParseError::new(error.message))
}
