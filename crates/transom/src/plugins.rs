//! Plugins that are kept running, as the admin API asks for them and orders them.

use std::sync::Arc;

use transom_api::control::{PluginAnswer, PluginAnswered, PluginFault, PluginOrder, PluginOrdered};
use transom_process::launch;
use transom_process::supervise::{Order, Question, Supervisor};

/// The argument by which this program knows that it is to become a plugin.
pub(crate) const LAUNCHER: &str = "plugin-launcher";

/// Becomes the plugin, if this process was started for that.
pub(crate) fn launch() -> Option<std::process::ExitCode> {
    let asked = std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == LAUNCHER);
    asked.then(launch::main)
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
