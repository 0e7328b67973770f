//! Where lines go: opened, written and opened again by the sink's thread alone.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Where lines go. Equal targets are one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    File(PathBuf),
    Stdout,
    Stderr,
    SyslogUnix(PathBuf),
    SyslogUdp(SocketAddr),
}

/// An open target.
#[derive(Debug)]
pub(crate) enum Open {
    File(File),
    Stdout,
    Stderr,
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

/// Why a target cannot be opened, and what to do about it.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

/// A log of requests is not everybody's to read.
const MODE: u32 = 0o640;
/// A message over the network should fit what every receiver takes (RFC 5426 section 3.2 asks for 2048 bytes); what is
/// longer than a datagram can be is cut.
const LARGEST_DATAGRAM: usize = 60 << 10;

impl Target {
    pub(crate) fn open(&self) -> Result<Open, OpenError> {
        let failed = |error: &io::Error| OpenError {
            message: format!("{self} cannot be opened: {error}"),
            help: help(error.kind()),
        };
        match self {
            Self::File(path) => open_file(path),
            Self::Stdout => Ok(Open::Stdout),
            Self::Stderr => Ok(Open::Stderr),
            Self::SyslogUnix(path) => {
                let socket = UnixDatagram::unbound().map_err(|error| failed(&error))?;
                socket.connect(path).map_err(|error| OpenError {
                    message: format!("{self} cannot be opened: {error}"),
                    help: "is a syslog daemon running? Its socket is /dev/log on most systems",
                })?;
                Ok(Open::Unix(socket))
            }
            Self::SyslogUdp(address) => {
                let any = match address {
                    SocketAddr::V4(_) => "0.0.0.0:0",
                    SocketAddr::V6(_) => "[::]:0",
                };
                let open = || {
                    let socket = UdpSocket::bind(any)?;
                    socket.connect(address)?;
                    Ok(socket)
                };
                open().map(Open::Udp).map_err(|error| failed(&error))
            }
        }
    }

    /// Whether opening it again is of use when it was moved away.
    pub(crate) fn reopens(&self) -> bool {
        matches!(self, Self::File(_) | Self::SyslogUnix(_))
    }
}

fn open_file(path: &Path) -> Result<Open, OpenError> {
    let refused = |what: String, help| OpenError {
        message: format!("{} cannot be opened: {what}", path.display()),
        help,
    };
    // Opening a FIFO would wait for its reader.
    if let Ok(known) = path.metadata()
        && (known.file_type().is_fifo() || known.file_type().is_socket())
    {
        return Err(refused(
            "it is a FIFO or a socket".to_owned(),
            "name a file, or use `stdout` and a pipe",
        ));
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)
        .map(Open::File)
        .map_err(|error| refused(error.to_string(), help(error.kind())))
}

fn help(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "its folder does not exist: make it",
        ErrorKind::PermissionDenied => {
            "the user that this process runs as may not write there: change the owner or mode of the file and its folder"
        }
        ErrorKind::IsADirectory => "this is a folder: name a file in it",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only: choose another place",
        _ => "see the kernel's word above",
    }
}

impl Open {
    /// Writes whole lines. An error may have come after a part of them.
    pub(crate) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(lines),
            // Not by way of Rust's own buffers, which would write at every line end.
            Self::Stdout => write_locked(&mut io::stdout().lock(), lines),
            Self::Stderr => write_locked(&mut io::stderr().lock(), lines),
            Self::Unix(socket) => datagrams(lines, |message| socket.send(message)),
            Self::Udp(socket) => datagrams(lines, |message| socket.send(message)),
        }
    }
}

fn write_locked(stream: &mut impl Write, lines: &[u8]) -> io::Result<()> {
    stream.write_all(lines)?;
    stream.flush()
}

/// Sends each line as a message of its own. The first error is told after all were tried.
fn datagrams(lines: &[u8], send: impl Fn(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    let mut outcome = Ok(());
    for line in lines.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let message = line.get(..LARGEST_DATAGRAM).unwrap_or(line);
        if let Err(error) = send(message)
            && outcome.is_ok()
        {
            outcome = Err(error);
        }
    }
    outcome
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdout => f.write_str("standard output"),
            Self::Stderr => f.write_str("standard error"),
            Self::SyslogUnix(path) => write!(f, "unix:{}", path.display()),
            Self::SyslogUdp(address) => write!(f, "udp:{address}"),
        }
    }
}
