//! Unix sockets that are listened on.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};
use socket2::{Domain, SockAddr, Socket, Type};
use transom_config::{Located, UnixSocket as UnixSocketOptions, socket_name};

use super::BACKLOG;

/// A bound Unix socket. Dropping it removes its file.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    pub(super) listener: UnixListener,
    /// `None` for a name without a file.
    file: Option<SocketFile>,
}

/// The file of a Unix socket that this process bound.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl UnixSocket {
    /// Binds a path, or with `@` a name of the abstract namespace (unix(7)). A socket that a dead process left at the path is
    /// removed; nothing else ever is.
    pub(super) fn bind(path: &Path, options: &UnixSocketOptions) -> io::Result<Self> {
        let name = SockAddr::unix(socket_name(path))?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let is_file = !path.as_os_str().as_bytes().starts_with(b"@");
        match socket.bind(&name) {
            Err(error) if is_file && error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, &name)?;
                socket.bind(&name)?;
            }
            bound => bound?,
        }
        let file = if is_file {
            let file = SocketFile::of(path)?;
            // Between bind and listen: until then nobody can connect, so there is no moment with the wrong mode.
            file.give_to(options)?;
            Some(file)
        } else {
            None
        };
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            listener: socket.into(),
            file,
        })
    }

    /// Gives the file another mode and other owners.
    pub(super) fn set_options(&self, options: &UnixSocketOptions) -> io::Result<()> {
        let file = self.file.as_ref();
        file.map_or(Ok(()), |file| file.give_to(options))
    }

    /// Takes the file away: nobody new finds the socket from now on.
    pub(super) fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

fn remove_stale(path: &Path, name: &SockAddr) -> io::Result<()> {
    let in_use = || io::Error::from(io::ErrorKind::AddrInUse);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A living process whose queue is full would hold a blocking connect.
    probe.set_nonblocking(true)?;
    match probe.connect(name) {
        // unix(7): the file is there and nobody listens on it.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // Connected, or told to come back later, or a socket of another type: somebody lives there.
        _ => Err(in_use()),
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

    fn give_to(&self, options: &UnixSocketOptions) -> io::Result<()> {
        let owners = Owners::of(options)?;
        // The mode last: a change of owners takes bits of it away (chown(2)).
        if owners.user.is_some() || owners.group.is_some() {
            std::os::unix::fs::chown(&self.path, owners.user, owners.group)?;
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(options.mode))
    }

    fn remove(&self) {
        // By now the path may be another's: a successor that removed our file and bound its own.
        let ours = |found: &fs::Metadata| found.dev() == self.device && found.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(|found| ours(&found)) {
            // A file that stays does no harm: the next process finds nobody behind it and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The numbers of who owns a file.
struct Owners {
    user: Option<u32>,
    group: Option<u32>,
}

impl Owners {
    fn of(options: &UnixSocketOptions) -> io::Result<Self> {
        let unknown = |what: &str, name: &str| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("this machine has no {what} `{name}`"),
            )
        };
        let user = |name: &str| match name.parse() {
            Ok(number) => Ok(number),
            Err(_) => match User::from_name(name)? {
                Some(user) => Ok(user.uid.as_raw()),
                None => Err(unknown("user", name)),
            },
        };
        let group = |name: &str| match name.parse() {
            Ok(number) => Ok(number),
            Err(_) => match Group::from_name(name)? {
                Some(group) => Ok(group.gid.as_raw()),
                None => Err(unknown("group", name)),
            },
        };
        let name = |owner: &Option<Located<String>>| owner.as_ref().map(|it| it.value.clone());
        Ok(Self {
            user: name(&options.user).map(|name| user(&name)).transpose()?,
            group: name(&options.group).map(|name| group(&name)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mode: u32) -> UnixSocketOptions {
        UnixSocketOptions {
            mode,
            ..UnixSocketOptions::default()
        }
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("transom-socket-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_stale_socket_is_replaced_and_the_own_one_removed() {
        let path = path("stale");
        // std leaves the file where it is.
        drop(UnixListener::bind(&path).unwrap());
        let bound = UnixSocket::bind(&path, &options(0o600)).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        bound.set_options(&options(0o666)).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o666
        );
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn what_others_have_is_left_alone() {
        let living = path("living");
        let owner = UnixListener::bind(&living).unwrap();
        let error = UnixSocket::bind(&living, &options(0o600)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(owner);
        fs::remove_file(&living).unwrap();

        let file = path("file");
        fs::write(&file, "precious").unwrap();
        let error = UnixSocket::bind(&file, &options(0o600)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_successors_file_is_not_removed() {
        let path = path("successor");
        let first = UnixSocket::bind(&path, &options(0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        let second = UnixSocket::bind(&path, &options(0o600)).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[test]
    fn an_abstract_name_has_no_file() {
        let name = PathBuf::from(format!("@transom-socket-{}", std::process::id()));
        let bound = UnixSocket::bind(&name, &options(0o600)).unwrap();
        assert!(!name.exists());
        let error = UnixSocket::bind(&name, &options(0o600)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        UnixSocket::bind(&name, &options(0o600)).unwrap();
    }

    #[test]
    fn owners_are_known_by_name_and_by_number() {
        let of = |user: &str| {
            let user = Some(Located::new(user.to_owned()));
            Owners::of(&UnixSocketOptions {
                user,
                ..UnixSocketOptions::default()
            })
        };
        assert_eq!(of("root").unwrap().user, Some(0));
        assert_eq!(of("7").unwrap().user, Some(7));
        let error = of("nobody of this name").err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
