//! Connections and listeners of every kind that the protocol has: Unix, TCP, streams of a multiplexed connection; with or without TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::handshake::PluginAddr;
use crate::mux::MuxStream;
use crate::owner::Owner;
use crate::tls::Tls;

/// One connection.
pub(crate) enum Io {
    Unix(UnixStream),
    Tcp(TcpStream),
    Mux(MuxStream),
    Tls(Box<tokio_rustls::TlsStream<Io>>),
}

impl Io {
    /// Connects to `address`, without TLS. A Unix socket must be the owner's; who listens on a TCP port cannot be told.
    pub(crate) async fn connect(address: &PluginAddr, owner: Owner) -> io::Result<Self> {
        match address {
            PluginAddr::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                owner.check(&stream)?;
                Ok(Self::Unix(stream))
            }
            PluginAddr::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    /// Adds TLS as the dialling side.
    pub(crate) async fn secure(self, tls: Option<&Tls>) -> io::Result<Self> {
        let Some(tls) = tls else {
            return Ok(self);
        };
        let connector = TlsConnector::from(tls.client.clone());
        let stream = connector.connect(tls.server_name.clone(), self).await?;
        Ok(Self::Tls(Box::new(stream.into())))
    }

    /// Adds TLS as the accepting side.
    pub(crate) async fn accept_secure(self, tls: Option<&Tls>) -> io::Result<Self> {
        let Some(tls) = tls else {
            return Ok(self);
        };
        let server = tls.server.clone().ok_or_else(|| {
            io::Error::other("no TLS configuration for accepting connections was given")
        })?;
        let stream = TlsAcceptor::from(server).accept(self).await?;
        Ok(Self::Tls(Box::new(stream.into())))
    }
}

macro_rules! each {
    ($io:expr, $stream:ident => $body:expr) => {
        match &mut *$io {
            Io::Unix($stream) => $body,
            Io::Tcp($stream) => $body,
            Io::Mux($stream) => $body,
            Io::Tls($stream) => $body,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Mux(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// Where connections come from. A Unix socket's file goes with its listener.
pub(crate) enum Listener {
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "its drop removes the file")] SocketFile,
    ),
    Tcp(TcpListener),
    Mux(mpsc::Receiver<MuxStream>),
}

impl Listener {
    pub(crate) async fn accept(&mut self) -> io::Result<Io> {
        match self {
            Self::Unix(listener, _) => Ok(Io::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Io::Tcp(stream))
            }
            Self::Mux(streams) => match streams.recv().await {
                Some(stream) => Ok(Io::Mux(stream)),
                None => Err(io::ErrorKind::ConnectionAborted.into()),
            },
        }
    }

    /// Whether an error of `accept` ends this listener, rather than one connection.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Mux(_))
    }
}

/// How this side makes the listeners that its peer will dial.
#[derive(Clone, Debug)]
pub(crate) struct ListenerConfig {
    /// Unix or TCP.
    pub(crate) kind: ListenerKind,
}

/// Kind of a listener.
#[derive(Clone, Debug)]
pub(crate) enum ListenerKind {
    /// A Unix socket in `folder`, of `group` where one is named, with mode 0660 then.
    Unix {
        /// Folder of the socket.
        folder: PathBuf,
        /// Group that owns it.
        group: Option<u32>,
    },
    /// The first free port of a range on the IPv4 loopback address; 0 to 0 is any port.
    Tcp {
        /// First port to try.
        min: u16,
        /// Last port to try.
        max: u16,
    },
}

impl ListenerConfig {
    /// Makes one listener, and says where it is.
    pub(crate) fn listen(&self) -> io::Result<(Listener, PluginAddr)> {
        match &self.kind {
            ListenerKind::Unix { folder, group } => {
                let (listener, file) = SocketFile::bind(folder, *group)?;
                let address = PluginAddr::Unix(file.0.clone());
                Ok((Listener::Unix(listener, file), address))
            }
            ListenerKind::Tcp { min, max } => {
                if min > max {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!("port range {min} to {max} is empty"),
                    ));
                }
                let mut last = io::Error::from(io::ErrorKind::AddrInUse);
                for port in *min..=*max {
                    match std::net::TcpListener::bind(("127.0.0.1", port)) {
                        Ok(listener) => {
                            listener.set_nonblocking(true)?;
                            let address = PluginAddr::Tcp(listener.local_addr()?);
                            return Ok((Listener::Tcp(TcpListener::from_std(listener)?), address));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(io::Error::new(
                    last.kind(),
                    format!("no free port between {min} and {max}: {last}"),
                ))
            }
        }
    }
}

/// A bound Unix socket's name in the file system; removed when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

/// Longest path of a Unix socket, in bytes: `sun_path` holds 108 with its terminator.
pub(crate) const MAX_SOCKET_PATH: usize = 107;

impl SocketFile {
    fn bind(folder: &Path, group: Option<u32>) -> io::Result<(UnixListener, Self)> {
        // A taken name is tried again with another; that many collisions in a row have another reason.
        for _ in 0..16 {
            let path = folder.join(format!("plugin{}", random_digits()?));
            if path.as_os_str().len() > MAX_SOCKET_PATH {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!(
                        "socket path {} is longer than {MAX_SOCKET_PATH} bytes: use a shorter folder",
                        path.display()
                    ),
                ));
            }
            let listener = match UnixListener::bind(&path) {
                Ok(listener) => listener,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                Err(error) => {
                    return Err(io::Error::new(
                        error.kind(),
                        format!("cannot listen on {}: {error}", path.display()),
                    ));
                }
            };
            let file = Self(path);
            if let Some(group) = group {
                std::os::unix::fs::chown(&file.0, None, Some(group))?;
                std::fs::set_permissions(
                    &file.0,
                    std::os::unix::fs::PermissionsExt::from_mode(0o660),
                )?;
            }
            return Ok((listener, file));
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone with its folder already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Ten random digits for a name in a folder that others may share.
pub(crate) fn random_digits() -> io::Result<String> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(
        "{:010}",
        u64::from_ne_bytes(bytes) % 10_000_000_000
    ))
}

/// The id of a group given by name or number, from `/etc/group`.
pub(crate) fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let groups = std::fs::read_to_string("/etc/group")?;
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
        })
        .next()
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no group {group:?} in /etc/group"),
            )
        })
}
