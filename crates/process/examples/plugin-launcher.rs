//! The launcher of programs that use this crate as a library and have none of their own: it sets up a sandbox and becomes the plugin.
//!
//! With `--without-landlock` it does so as on a kernel that has no Landlock, for tests.

use std::collections::BTreeMap;
use std::process::ExitCode;

use seccompiler::{SeccompAction, SeccompFilter};

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--without-landlock") {
        hide_landlock();
    }
    transom_process::launch::main()
}

fn hide_landlock() {
    // Without rights of its own a process may filter its calls only if it can gain none.
    rustix::thread::set_no_new_privs(true).unwrap();
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}
