//! The launcher's `main`: from the order to the program.

use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{
    Gid, Resource, Rlimit, Signal, Uid, getppid, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use transom_goplugin::environment::UNIX_SOCKET_DIR;

use super::calls;
use super::cgroup::enter;
use super::files::{self, Own};
use super::granted::Granted;
use super::order::{Order, VARIABLE};
use super::profile::{Limits, Profile};
use super::trust::Verified;

/// The exit code of a launcher that did not become its program.
pub const NOT_LAUNCHED: u8 = 125;

/// Does what it is told and becomes the program. Returns only when that failed; standard error says why.
///
/// A program calls it first of all in its `main` when its arguments are those of its [`Launcher`](super::Launcher): it must have no
/// other thread.
pub fn main() -> ExitCode {
    let why = match launch() {
        Ok(never) => match never {},
        Err(why) => why,
    };
    // A closed standard error is the host's choice.
    let _ = writeln!(std::io::stderr(), "[ERROR] cannot launch the plugin: {why}");
    ExitCode::from(NOT_LAUNCHED)
}

enum Never {}

fn launch() -> Result<Never, String> {
    let host = getppid();
    let text = std::env::var(VARIABLE).map_err(|_| {
        format!("{VARIABLE} is not set: this is started by a host for each plugin, not by hand")
    })?;
    let order: Order = serde_json::from_str(&text).map_err(|error| {
        format!("{VARIABLE} is not what a host of this version writes: {error}")
    })?;
    if let Some(group) = &order.cgroup {
        enter(group).map_err(|error| format!("cannot enter {}: {error}", group.display()))?;
    }
    let verified = Verified::new(&order)?;
    // What is verified by name and run by name must be the same file: so it is run from the copy.
    let program = verified.of(&order.program).map(AsRawFd::as_raw_fd);
    let image = Image::new(&order, &verified)?;
    let mut granted = Granted {
        full: true,
        verified: verified.count().try_into().unwrap_or(u32::MAX),
        ..Granted::default()
    };
    if let Some(profile) = &order.profile {
        let own = Own {
            program: &order.program,
            named: named(&order),
            sockets: std::env::var_os(UNIX_SOCKET_DIR).map(PathBuf::from),
            folder: &order.folder,
        };
        bound(profile, &own, host, &mut granted)?;
    }
    tell(&granted);
    Err(image.become_it(program, &order.program))
}

/// What the command names that is a file.
fn named(order: &Order) -> Vec<PathBuf> {
    order
        .arguments
        .iter()
        .skip(1)
        .flat_map(|text| [PathBuf::from(text), order.folder.join(text)])
        .filter(|path| path.is_file())
        .collect()
}

fn bound(
    profile: &Profile,
    own: &Own<'_>,
    host: Option<rustix::process::Pid>,
    granted: &mut Granted,
) -> Result<(), String> {
    // Made before anything is forbidden.
    let filters = match calls::filters(profile) {
        Ok(filters) => filters,
        Err(why) => {
            granted.missing.push(why);
            Vec::new()
        }
    };
    let user = profile.user.as_deref().map(user).transpose()?;
    limit(&profile.limits)?;
    if let Some((uid, gid)) = user {
        become_user(uid, gid).map_err(|error| {
            format!(
                "cannot become user {}: {error}; the proxy must be root for that",
                uid.as_raw()
            )
        })?;
        granted.user = Some(format!("{}:{}", uid.as_raw(), gid.as_raw()));
        // The system forgets it with the user.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
        if getppid() != host {
            return Err("the host has ended".to_owned());
        }
    }
    if profile.no_new_privs {
        set_no_new_privs(true).map_err(|error| format!("PR_SET_NO_NEW_PRIVS: {error}"))?;
        granted.no_new_privs = true;
    }
    if let Some(enforced) = files::restrict(profile, own)? {
        granted.landlock = Some(enforced.abi);
        if !enforced.full {
            granted.missing.push(match enforced.abi {
                0 => "this kernel has no Landlock: `files`, ports and `scoped` do not hold"
                    .to_owned(),
                abi => format!(
                    "this kernel's Landlock has version {abi}, which lacks some of what was asked"
                ),
            });
        }
    }
    for filter in &filters {
        match seccompiler::apply_filter(filter) {
            Ok(()) => granted.seccomp = true,
            Err(error) => granted
                .missing
                .push(format!("system calls are not filtered: {error}")),
        }
    }
    granted.full = granted.missing.is_empty();
    if profile.required && !granted.full {
        return Err(format!(
            "the sandbox cannot be had in full: {}; `required: false` starts the plugin with what there is",
            granted.missing.join("; ")
        ));
    }
    Ok(())
}

fn limit(limits: &Limits) -> Result<(), String> {
    let all = [
        (Resource::Nofile, "open_files", limits.open_files),
        (Resource::Nproc, "processes", limits.processes),
        (Resource::As, "address_space", limits.address_space),
        (Resource::Fsize, "file_size", limits.file_size),
        (Resource::Cpu, "cpu", limits.cpu),
        (Resource::Core, "core", limits.core),
    ];
    for (resource, name, value) in all {
        let Some(value) = value else { continue };
        let both = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        setrlimit(resource, both).map_err(|error| {
            format!("the limit `{name}: {value}` is refused: {error}; only root may raise it above the proxy's own")
        })?;
    }
    Ok(())
}

/// `name`, or `uid:gid`.
fn user(text: &str) -> Result<(Uid, Gid), String> {
    if let Some((uid, gid)) = text.split_once(':')
        && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
    {
        return checked(uid, gid, text);
    }
    let users = std::fs::read_to_string("/etc/passwd")
        .map_err(|error| format!("cannot look up user {text}: /etc/passwd: {error}"))?;
    let found = users.lines().find_map(|line| {
        // passwd(5): name, password, uid, gid.
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (name == text).then_some((uid, gid))
    });
    let (uid, gid) = found.ok_or_else(|| {
        format!("there is no user {text} in /etc/passwd: write a name of it, or `uid:gid`")
    })?;
    checked(uid, gid, text)
}

fn checked(uid: u32, gid: u32, text: &str) -> Result<(Uid, Gid), String> {
    // To the system calls this number means "as it is".
    if uid == u32::MAX || gid == u32::MAX {
        return Err(format!("{text} is no user"));
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// The process has one thread, so what holds for that holds for all of it. Capabilities go with the user (capabilities(7)).
fn become_user(uid: Uid, gid: Gid) -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Tells the host, by the one line that it believes.
fn tell(granted: &Granted) {
    let _ = writeln!(std::io::stderr(), "{}", granted.line());
}

/// A program as execveat(2) takes it.
struct Image {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Image {
    fn new(order: &Order, verified: &Verified) -> Result<Self, String> {
        let text = |bytes: Vec<u8>| {
            CString::new(bytes).map_err(|_| "a zero byte in the command".to_owned())
        };
        let mut arguments = Vec::new();
        for (at, argument) in order.arguments.iter().enumerate() {
            let argument = match at {
                0 => argument.clone(),
                _ => verified.argument(argument, &order.folder),
            };
            arguments.push(text(argument.into_bytes())?);
        }
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            if name == VARIABLE {
                continue;
            }
            let mut variable: OsString = name;
            variable.push("=");
            variable.push(value);
            environment.push(text(variable.into_vec())?);
        }
        Ok(Self {
            arguments,
            environment,
        })
    }

    /// Returns only if the kernel refuses, and says why.
    fn become_it(&self, verified: Option<RawFd>, path: &Path) -> String {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts
                .iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let (folder, name, flags) = match verified {
            Some(fd) => (fd, CString::default(), libc::AT_EMPTY_PATH),
            None => match CString::new(path.as_os_str().as_bytes()) {
                Ok(name) => (libc::AT_FDCWD, name, 0),
                Err(_) => return "a zero byte in the program's path".to_owned(),
            },
        };
        // SAFETY: `name` is a C string, the two lists are null-terminated, and all they point to lives in `self`.
        #[allow(unsafe_code)]
        unsafe {
            libc::execveat(
                folder,
                name.as_ptr(),
                arguments.as_ptr().cast(),
                environment.as_ptr().cast(),
                flags,
            );
        }
        let error = std::io::Error::last_os_error();
        let mut why = format!("{} cannot be run: {error}", path.display());
        if error.raw_os_error() == Some(libc::EACCES) {
            why += "; is it executable, and does `sandbox.files.execute` have what it runs by?";
        }
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!(user("root").unwrap(), (Uid::ROOT, Gid::ROOT));
        assert_eq!(
            user("65534:65533").unwrap(),
            (Uid::from_raw(65534), Gid::from_raw(65533))
        );
        for wrong in ["", "no such user", "1:", "4294967295:0"] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
    }
}
