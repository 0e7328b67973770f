//! Opening the socket: loopback or Unix, never more.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use transom_config::ListenAddress;

use crate::AdminError;

/// A listening socket, non-blocking.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    /// With the file that goes when the listener goes.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket that this process bound. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// As many as are served at once may wait besides; the system cuts the number to its own limit.
const BACKLOG: i32 = 64;

impl Listening {
    pub(crate) fn open(address: &ListenAddress) -> Result<Self, AdminError> {
        match address {
            ListenAddress::Tcp(tcp) if !address.is_local() => {
                Err(AdminError::NotLocal { address: *tcp })
            }
            ListenAddress::Tcp(tcp) => {
                open_tcp(*tcp).map_err(|cause| AdminError::from_system(address, cause))
            }
            ListenAddress::Unix(path) => open_unix(address, path),
            // The loader has refused it; there is no HTTP/1 on datagrams.
            ListenAddress::Udp(udp) => Err(AdminError::NotLocal { address: *udp }),
        }
    }

    /// Where it listens, with the port that the system chose.
    pub(crate) fn local_address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(_, file) => Ok(ListenAddress::Unix(file.path.clone())),
        }
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<Listening> {
    // The standard library sets SO_REUSEADDR, so that a restart does not wait for old connections, and no SO_REUSEPORT,
    // so that a second process is an error.
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Listening::Tcp(listener))
}

fn open_unix(address: &ListenAddress, path: &Path) -> Result<Listening, AdminError> {
    let failed = |cause| AdminError::from_system(address, cause);
    let name = SockAddr::unix(path).map_err(failed)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    if let Err(cause) = socket.bind(&name) {
        if cause.kind() != io::ErrorKind::AddrInUse {
            return Err(failed(cause));
        }
        remove_stale(address, path, &name)?;
        socket.bind(&name).map_err(failed)?;
    }
    let file = SocketFile::of(path).map_err(failed)?;
    // The mode is set between bind and listen: until then nobody can connect, so there is no moment with the wrong one.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(Listening::Unix(socket.into(), file))
}

/// Removes the socket that a dead process left at `path`. Nothing else is ever removed.
fn remove_stale(address: &ListenAddress, path: &Path, name: &SockAddr) -> Result<(), AdminError> {
    let failed = |cause| AdminError::from_system(address, cause);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(failed(cause)),
    };
    if !found.file_type().is_socket() {
        return Err(AdminError::NotASocket {
            address: address.clone(),
        });
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // A living process whose queue is full would hold a blocking connect.
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(name) {
        // unix(7): the file is there and nobody listens on it.
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            match fs::remove_file(path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(failed(cause)),
                _ => Ok(()),
            }
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Err(failed(cause)),
        // Connected, or told to come back later, or a socket of another type: somebody lives there.
        _ => Err(AdminError::InUse {
            address: address.clone(),
        }),
    }
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // By now the path may be another's: a successor that removed our file and bound its own.
        let ours = |found: &fs::Metadata| found.dev() == self.device && found.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(|found| ours(&found)) {
            // A file that stays does no harm: the next process finds nobody behind it and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
