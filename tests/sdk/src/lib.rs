//! One table of cases for the plugins of every SDK. `sdk/CONFORMANCE.md` says what a conformance plugin has.

mod cases;
mod end;
mod logs;
mod mosn;
mod mtls;
mod scene;

use std::process::Command;
use std::time::{Duration, Instant};

use scene::Scene;

/// What became of a case.
#[derive(Debug)]
pub struct Outcome {
    /// The case.
    pub name: &'static str,
    /// What was wrong; `None` if nothing was.
    pub fault: Option<String>,
    /// How long it took.
    pub time: Duration,
}

/// A case that fails says why.
type Verdict = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs the cases whose names contain a word against the plugin that `command` starts. The plugin is started once for all cases, and anew
/// for those of MOSN's protocol and after a case that failed.
pub async fn run(command: impl Fn() -> Command, only: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut scene = None;
    macro_rules! case {
        ($module:ident, $name:ident) => {
            let name = stringify!($name);
            if name.contains(only) {
                let begin = Instant::now();
                let verdict = async {
                    let scene = match &mut scene {
                        Some(scene) => scene,
                        none => none.insert(Scene::start(command()).await?),
                    };
                    let limit = Duration::from_secs(30);
                    match tokio::time::timeout(limit, $module::$name(scene)).await {
                        Ok(verdict) => verdict,
                        Err(_) => Err("not over within 30 s".into()),
                    }
                };
                let fault = verdict.await.err().map(|fault: Box<_>| fault.to_string());
                if fault.is_some() {
                    scene = None;
                }
                outcomes.push(Outcome {
                    name,
                    fault,
                    time: begin.elapsed(),
                });
            }
        };
    }
    for_each_case!(case);
    if let Some(scene) = scene {
        let begin = Instant::now();
        let well = scene.stop().await;
        outcomes.push(Outcome {
            name: "the_plugin_ends_when_it_is_asked_to",
            fault: (!well || begin.elapsed() > Duration::from_secs(3))
                .then(|| format!("it took {} ms", begin.elapsed().as_millis())),
            time: begin.elapsed(),
        });
    }
    for (name, case) in mosn::cases()
        .into_iter()
        .chain(mtls::cases())
        .chain(end::cases())
    {
        if name.contains(only) {
            let begin = Instant::now();
            let fault = case(command()).await.err().map(|fault| fault.to_string());
            outcomes.push(Outcome {
                name,
                fault,
                time: begin.elapsed(),
            });
        }
    }
    outcomes
}

/// The cases of `transom.plugin.v1`, in their order.
#[macro_export]
#[doc(hidden)]
macro_rules! for_each_case {
    ($case:ident) => {
        $case!(cases, it_says_what_it_is);
        $case!(cases, an_extension_that_it_has_not_is_refused);
        $case!(cases, a_wrong_configuration_is_refused_at_its_place);
        $case!(cases, a_routes_configuration_is_checked_too);
        $case!(cases, needs_are_what_the_filters_say);
        $case!(cases, who_may_pass_passes);
        $case!(cases, who_may_not_is_denied);
        $case!(cases, two_uses_have_two_configurations);
        $case!(cases, whole_bodies_are_rewritten);
        $case!(cases, bodies_are_rewritten_piece_by_piece);
        $case!(cases, a_request_without_a_body_passes_the_rewriter);
        $case!(cases, a_callout_lets_pass);
        $case!(cases, a_callout_denies);
        $case!(cases, a_callout_that_fails_is_an_answer_too);
        $case!(cases, a_pause_ends);
        $case!(cases, another_thread_lets_a_request_go);
        $case!(cases, notes_are_left_everywhere);
        $case!(cases, shared_data_that_changed_is_tried_again);
        $case!(cases, headers_and_trailers_are_edited);
        $case!(cases, a_route_has_a_configuration_of_its_own);
        $case!(cases, a_panic_is_a_failure_of_its_stream_only);
        $case!(cases, a_failure_is_told);
        $case!(cases, a_stream_that_goes_while_it_waits_is_forgotten);
        $case!(cases, a_callout_of_a_stream_that_went_is_forgotten);
        $case!(cases, a_deadline_of_one_stream_leaves_the_others);
        $case!(cases, a_thousand_streams_wait_at_once);
        $case!(cases, answers_wait_for_credit);
        $case!(cases, bodies_wait_for_credit);
        $case!(cases, credit_comes_back);
        $case!(cases, two_workers_do_not_mix);
        $case!(cases, connections_are_served);
        $case!(cases, certificates_are_given);
        $case!(cases, a_certificate_that_is_not_there_is_an_error);
        $case!(logs, entries_of_an_access_log_are_kept);
        $case!(logs, lines_of_a_log_are_kept);
        $case!(logs, a_log_that_is_not_ready_takes_nothing);
        $case!(cases, a_use_that_was_released_is_gone);
        $case!(cases, what_a_newer_host_sends_is_passed_over);
    };
}
