//! Plugins that are kept running, as the admin API asks for them and orders them.

use std::sync::Arc;

use transom_api::Registry;
use transom_api::control::{PluginAnswer, PluginAnswered, PluginFault, PluginOrder, PluginOrdered};
use transom_api::registry::DuplicateExtension;
use transom_library::{LibraryRuntime, Prober};
use transom_process::ProcessRuntime;
use transom_process::launch::cgroup::Delegated;
use transom_process::launch::{self, Launcher};
use transom_process::supervise::{Order, Question, Supervisor};

/// The argument by which this program knows that it is to become a plugin.
const LAUNCHER: &str = "plugin-launcher";

/// The argument by which it knows that it is to try a library.
const LIBRARY_PROBE: &str = "library-probe";

/// Becomes the plugin, if this process was started for that.
pub(crate) fn launch() -> Option<std::process::ExitCode> {
    let asked = std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == LAUNCHER);
    asked.then(launch::main)
}

/// Tries to load a library, if this process was started for that.
pub(crate) fn probe() -> Option<std::process::ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let asked = arguments.next()? == LIBRARY_PROBE;
    let path = arguments.next().filter(|_| asked)?;
    Some(transom_library::probe_main(&path))
}

/// Puts the runtimes into a registry. Both have this program start what they host: plugins with what their sandbox leaves
/// them, libraries in a process of their own before they are loaded here.
pub(crate) fn register_runtimes(
    registry: &mut Registry,
    supervisor: &Arc<Supervisor>,
    cgroup: Option<Delegated>,
) -> Result<(), DuplicateExtension> {
    let launcher = Launcher::own([LAUNCHER]).in_cgroup(cgroup);
    ProcessRuntime::new(Arc::clone(supervisor), launcher).register(registry)?;
    LibraryRuntime::new(prober()).register(registry);
    Ok(())
}

/// What loads a library in a process of its own first.
pub(crate) fn prober() -> Prober {
    Prober::new("/proc/self/exe", [LIBRARY_PROBE])
}

/// Carries out an order.
pub(crate) fn order(supervisor: &Arc<Supervisor>, name: &str, order: PluginOrder) -> PluginOrdered {
    let supervisor = Arc::clone(supervisor);
    let name = name.to_owned();
    Box::pin(async move {
        let done = match order {
            PluginOrder::Enable => supervisor
                .enable(&name)
                .await
                .map(|()| "it is enabled".to_owned()),
            PluginOrder::Disable => supervisor
                .disable(&name)
                .await
                .map(|()| "it is disabled".to_owned()),
            PluginOrder::Restart => supervisor
                .restart(&name)
                .await
                .map(|()| "its processes were replaced".to_owned()),
            PluginOrder::Swap => supervisor.swap(&name).await,
        };
        done.map_err(|error| match error {
            Order::Unknown => PluginFault::Unknown,
            other => PluginFault::Refused(other.to_string()),
        })
    })
}

/// Answers a query of `/plugin` in MOSN's words.
pub(crate) fn answer(
    supervisor: &Arc<Supervisor>,
    query: &str,
    may_change: bool,
) -> PluginAnswered {
    let supervisor = Arc::clone(supervisor);
    let question = Question::read(query);
    Box::pin(async move {
        if question.changes() && !may_change {
            return PluginAnswer {
                status: 405,
                body:
                    "GET changes nothing here: use POST, or set `admin: {mosn_compatible: true}`\n"
                        .to_owned(),
            };
        }
        let answer = supervisor.answer(&question).await;
        PluginAnswer {
            status: answer.status,
            body: answer.body,
        }
    })
}
