//! System calls, by seccomp: seccomp(2).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::profile::Profile;

/// What no filter needs, and what has been the way out of many a sandbox.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// The second set of numbers that an x86_64 kernel may have for the same calls (x32).
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters of a profile, in the order in which they are applied; none if it asks for none.
pub(super) fn filters(profile: &Profile) -> Result<Vec<BpfProgram>, String> {
    let mut denied = Rules::new();
    if profile.system_calls {
        for call in DENIED {
            deny(&mut denied, *call, Vec::new());
        }
    }
    if profile.network.as_ref().is_some_and(|network| network.none) {
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            let other = condition(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?;
            deny(&mut denied, call, vec![rule(other)?]);
        }
    }
    let mut filters = Vec::new();
    if !profile.subprocesses {
        let no_thread = condition(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?;
        deny(&mut denied, libc::SYS_clone, vec![rule(no_thread)?]);
        #[cfg(target_arch = "x86_64")]
        for call in [libc::SYS_fork, libc::SYS_vfork] {
            deny(&mut denied, call, Vec::new());
        }
        // Its flags lie in memory, which a filter does not see. Told that there is no such call, libraries take `clone`.
        let mut unknown = Rules::new();
        deny(&mut unknown, libc::SYS_clone3, Vec::new());
        filters.push(compiled(unknown, libc::ENOSYS)?);
    }
    if !denied.is_empty() {
        filters.push(compiled(denied, libc::EPERM)?);
    }
    Ok(filters)
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)
        .map_err(|error| error.to_string())
}

fn rule(condition: SeccompCondition) -> Result<SeccompRule, String> {
    SeccompRule::new(vec![condition]).map_err(|error| error.to_string())
}

fn deny(rules: &mut Rules, call: libc::c_long, when: Vec<SeccompRule>) {
    #[cfg(target_arch = "x86_64")]
    rules.insert(call | X32, when.clone());
    rules.insert(call, when);
}

fn compiled(rules: Rules, errno: i32) -> Result<BpfProgram, String> {
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| {
        format!(
            "system calls cannot be filtered on {}",
            std::env::consts::ARCH
        )
    })?;
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        machine,
    )
    .and_then(TryInto::try_into)
    .map_err(|error: seccompiler::BackendError| error.to_string())
}
