//! Files and ports, by Landlock: landlock(7).

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus,
    Scope,
};

use super::profile::{Files, Profile};

/// What it is made for: the newest interface of the kernel whose rights are known here.
const NEWEST: ABI = ABI::V6;

/// What each program of the system needs to begin at all.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/bin",
    "/sbin",
    "/opt",
    "/nix/store",
];

/// What libraries read: names, time zones, certificates, what the machine is.
const READ: [&str; 24] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/sys/net/core/somaxconn",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Devices without a memory.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// What a program needs beside what its profile grants.
pub(super) struct Own<'a> {
    /// Files of its command, which it may read; and the program itself, which it may run.
    pub(super) program: &'a Path,
    pub(super) named: Vec<PathBuf>,
    /// The folder of its socket.
    pub(super) sockets: Option<PathBuf>,
    /// Where relative paths begin.
    pub(super) folder: &'a Path,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Enforced {
    /// The version of the kernel's interface; 0 without Landlock.
    pub(super) abi: u32,
    pub(super) full: bool,
}

/// Restricts this process and all that it starts. `None` when the profile asks for nothing of this.
pub(super) fn restrict(profile: &Profile, own: &Own<'_>) -> Result<Option<Enforced>, String> {
    let network = profile.network.as_ref();
    if profile.files.is_none() && network.is_none() && !profile.scoped {
        return Ok(None);
    }
    let failed = |error: landlock::RulesetError| format!("Landlock refused: {error}");
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if profile.files.is_some() {
        ruleset = ruleset
            .handle_access(AccessFs::from_all(NEWEST))
            .map_err(failed)?;
    }
    if network.is_some() {
        ruleset = ruleset
            .handle_access(AccessNet::from_all(NEWEST))
            .map_err(failed)?;
    }
    if profile.scoped {
        ruleset = ruleset.scope(Scope::from_all(NEWEST)).map_err(failed)?;
    }
    let mut ruleset = ruleset.create().map_err(failed)?;
    if let Some(files) = &profile.files {
        ruleset = allow_files(ruleset, files, own)?;
    }
    if let Some(network) = network {
        let ports = |ports: &[u16], access| {
            ports
                .iter()
                .map(move |port| Ok(NetPort::new(*port, access)))
                .collect::<Vec<_>>()
        };
        ruleset = ruleset
            .add_rules(ports(&network.connect, AccessNet::ConnectTcp))
            .and_then(|ruleset| ruleset.add_rules(ports(&network.bind, AccessNet::BindTcp)))
            .map_err(failed)?;
    }
    // It is set before, or was asked not to be.
    let status = ruleset
        .no_new_privs(false)
        .restrict_self()
        .map_err(failed)?;
    let abi = match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi
            .and_then(|abi| abi.try_into().ok())
            .unwrap_or(effective_abi as u32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    Ok(Some(Enforced {
        abi,
        full: status.ruleset == RulesetStatus::FullyEnforced,
    }))
}

fn allow_files(
    mut ruleset: RulesetCreated,
    files: &Files,
    own: &Own<'_>,
) -> Result<RulesetCreated, String> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = AccessFs::from_read(NEWEST);
    let change = AccessFs::from_all(NEWEST) & !AccessFs::Execute;
    // What a system does not have needs no right.
    for path in SYSTEM {
        ruleset = allow(ruleset, Path::new(path), run, true)?;
    }
    for path in READ {
        ruleset = allow(ruleset, Path::new(path), read, true)?;
    }
    for path in DEVICES {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        ruleset = allow(ruleset, Path::new(path), access, true)?;
    }
    ruleset = allow(ruleset, own.program, run, true)?;
    for path in &own.named {
        ruleset = allow(ruleset, path, read, true)?;
    }
    if let Some(path) = &own.sockets {
        ruleset = allow(ruleset, path, change, false)?;
    }
    for (paths, access) in [
        (&files.read, read),
        (&files.write, change),
        (&files.execute, run),
    ] {
        for path in paths {
            ruleset = allow(ruleset, &own.folder.join(path), access, false)?;
        }
    }
    Ok(ruleset)
}

fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
    optional: bool,
) -> Result<RulesetCreated, String> {
    let open = PathFd::new(path);
    let (Ok(open), Ok(metadata)) = (open, std::fs::metadata(path)) else {
        if optional {
            return Ok(ruleset);
        }
        return Err(format!(
            "the sandbox names {}, which cannot be opened: make it, or take it out of `sandbox.files`",
            path.display()
        ));
    };
    // Rights to what a folder holds are none of a file's.
    let access = match metadata.is_dir() {
        true => access,
        false => access & AccessFs::from_file(NEWEST),
    };
    ruleset
        .add_rule(PathBeneath::new(open, access))
        .map_err(|error| format!("Landlock refused {}: {error}", path.display()))
}
