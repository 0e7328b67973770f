//! The folder of a plugin's sockets.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::config::UnixSockets;
use super::launch;
use crate::net::{MAX_SOCKET_PATH, group_id, random_digits};
use crate::task::lock;

/// What a name of ours begins with; the host's process id and start time follow.
const PREFIX: &str = "goplugin-";

/// Room that a socket's own name needs behind the folder's: Go's plugins use up to 16 digits.
const NAME_ROOM: usize = 24;

/// A folder of one plugin; removed with all it holds when dropped.
#[derive(Debug)]
pub(super) struct SocketFolder {
    path: PathBuf,
    group: Option<u32>,
}

impl SocketFolder {
    /// Makes the folder, and removes what hosts that died left beside it.
    pub(super) fn new(sockets: &UnixSockets) -> io::Result<Self> {
        let base = sockets.folder.clone().unwrap_or_else(std::env::temp_dir);
        sweep_once(&base);
        let group = sockets.group.as_deref().map(group_id).transpose()?;
        let host = std::process::id();
        let started = start_time(host).unwrap_or_default();
        let name = format!("{PREFIX}{host}-{started}-{}", random_digits()?);
        let path = base.join(name);
        if path.as_os_str().len() + NAME_ROOM > MAX_SOCKET_PATH {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the folder {} is too long for sockets, whose paths have at most {MAX_SOCKET_PATH} bytes; set a shorter one",
                    base.display()
                ),
            ));
        }
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Self { path, group };
        if let Some(group) = group {
            std::os::unix::fs::chown(&folder.path, None, Some(group))?;
            std::fs::set_permissions(&folder.path, PermissionsExt::from_mode(0o770))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the folder: its sockets have another owner now.
    pub(super) fn leave(self) {
        std::mem::forget(self);
    }

    pub(super) fn group(&self) -> Option<u32> {
        self.group
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Sweeps each base folder once in the life of this process, beside the caller: it may have many entries.
fn sweep_once(base: &Path) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if lock(&SWEPT).insert(base.to_owned()) {
        let base = base.to_owned();
        launch::aside(move || sweep(&base));
    }
}

/// Removes the folders of hosts that are gone: one that was killed could not do it itself. Only this user's are looked at.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    let user = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let mut parts = rest.split('-');
        let host = parts.next().and_then(|text| text.parse::<u32>().ok());
        let started = parts.next().and_then(|text| text.parse::<u64>().ok());
        let (Some(host), Some(started)) = (host, started) else {
            continue;
        };
        let own = entry
            .metadata()
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user);
        if own && start_time(host) != Some(started) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// When a process started, in ticks since boot (`/proc/PID/stat`, field 22): with the id it names a process for good.
fn start_time(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field, the program's name, is in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_with_its_owner() {
        let folder = SocketFolder::new(&UnixSockets::default()).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::write(path.join("left"), b"").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn folders_of_dead_hosts_are_removed_and_those_of_living_ones_stay() {
        let base = std::env::temp_dir().join(format!("sweep-{}", random_digits().unwrap()));
        std::fs::create_dir(&base).unwrap();
        let host = std::process::id();
        let started = start_time(host).unwrap();
        let alive = base.join(format!("{PREFIX}{host}-{started}-1"));
        let reused = base.join(format!("{PREFIX}{host}-{}-1", started + 1));
        let dead = base.join(format!("{PREFIX}4194999-5-1"));
        let other = base.join("goplugin-notes");
        for folder in [&alive, &reused, &dead, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        sweep(&base);
        assert!(alive.exists() && other.exists());
        assert!(!reused.exists() && !dead.exists());
        std::fs::remove_dir_all(&base).unwrap();
    }
}
