//! Whose a Unix socket is.

use std::io;

use rustix::process::{Pid, getpgid};
use tokio::net::UnixStream;

/// Who may listen where the plugin says that it listens.
///
/// A plugin's address is untrusted: it may be somebody else's socket, which would then be called with the host's rights. The kernel
/// remembers who called listen(2) on a socket (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    /// Whoever it is: the plugin lives where process ids say nothing, or its host said not to look.
    Anyone,
    /// This process, its process group, or what it started.
    Process(Pid),
}

/// Steps from a process to its ancestors. A plugin behind more wrappers than that is no plugin.
const MAX_ANCESTORS: usize = 64;

impl Owner {
    /// The process of this number; nobody in particular if it is none.
    pub(crate) fn process(id: u32) -> Self {
        id.try_into()
            .ok()
            .and_then(Pid::from_raw)
            .map_or(Self::Anyone, Self::Process)
    }

    /// Fails unless the other end of `stream` was made by the owner.
    pub(crate) fn check(self, stream: &UnixStream) -> io::Result<()> {
        let Self::Process(plugin) = self else {
            return Ok(());
        };
        let peer = stream.peer_cred()?;
        let listener = peer.pid().and_then(Pid::from_raw);
        if listener.is_some_and(|listener| belongs(listener, plugin)) {
            return Ok(());
        }
        let who = match listener {
            Some(listener) => format!("process {} of user {}", listener, peer.uid()),
            None => format!(
                "a process of user {} that cannot be seen from here",
                peer.uid()
            ),
        };
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{who} listens there, which is neither the plugin (process {plugin}) nor was started by it; for a plugin that is \
                 started through a service (docker run, systemd-run) switch this check off with ClientConfig::check_peer(false)",
            ),
        ))
    }
}

/// Whether `process` is `plugin`, of its group, or below it.
fn belongs(process: Pid, plugin: Pid) -> bool {
    // A group stays when the processes between the two have ended.
    if process == plugin || getpgid(Some(process)).is_ok_and(|group| group == plugin) {
        return true;
    }
    let mut ancestor = process;
    for _ in 0..MAX_ANCESTORS {
        match parent(ancestor) {
            Some(parent) if parent == plugin => return true,
            Some(parent) => ancestor = parent,
            None => return false,
        }
    }
    false
}

/// The parent of a process, from the fourth field of proc_pid_stat(5). The second is a name in parentheses, of any characters.
fn parent(process: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{process}/stat")).ok()?;
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    Pid::from_raw(rest.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{getpid, getppid};

    #[test]
    fn a_process_belongs_to_itself_and_to_its_ancestors_only() {
        let (own, parent) = (getpid(), getppid().unwrap());
        assert!(belongs(own, own));
        assert!(belongs(own, parent));
        assert!(!belongs(parent, own));
        // Nothing belongs to a process that is not there: the largest number that Linux gives is 2^22.
        assert!(!belongs(own, Pid::from_raw(i32::MAX).unwrap()));
    }

    #[tokio::test]
    async fn a_socket_is_of_who_listens() {
        let folder =
            std::env::temp_dir().join(format!("own-{}", crate::net::random_digits().unwrap()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("s");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let stream = UnixStream::connect(&path).await.unwrap();
        let own = std::process::id();
        assert!(Owner::process(own).check(&stream).is_ok());
        assert!(Owner::Anyone.check(&stream).is_ok());
        let error = Owner::process(i32::MAX as u32).check(&stream).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(
            error
                .to_string()
                .starts_with(&format!("process {own} of user ")),
            "{error}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
