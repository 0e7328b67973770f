//! What `ext_proc` counts.

use transom_api::{Counter, Histogram, PrepareContext, PrepareError};

/// The metrics of a use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metrics {
    pub(super) started: Counter,
    pub(super) failed: Counter,
    pub(super) sent: Counter,
    pub(super) received: Counter,
    pub(super) spurious: Counter,
    pub(super) timeouts: Counter,
    pub(super) allowed: Counter,
    pub(super) rejected_changes: Counter,
    pub(super) immediate: Counter,
    pub(super) dropped: Counter,
    pub(super) route_kept: Counter,
    pub(super) answer_time: Histogram,
}

impl Metrics {
    pub(super) fn define(context: &PrepareContext) -> Result<Self, PrepareError> {
        let labels = [("filter", &*context.instance)];
        let counter = |name: &str, help: &str| context.metrics.counter(name, help, &labels);
        Ok(Self {
            started: counter(
                "ext_proc_streams_started_total",
                "Calls begun, one for each stream.",
            )?,
            failed: counter(
                "ext_proc_streams_failed_total",
                "Calls that ended with an error.",
            )?,
            sent: counter(
                "ext_proc_messages_sent_total",
                "Messages sent to the server.",
            )?,
            received: counter(
                "ext_proc_messages_received_total",
                "Messages received from the server.",
            )?,
            spurious: counter(
                "ext_proc_spurious_messages_total",
                "Messages that answered nothing that was asked.",
            )?,
            timeouts: counter(
                "ext_proc_message_timeouts_total",
                "Messages that were not answered in time.",
            )?,
            allowed: counter(
                "ext_proc_failure_mode_allowed_total",
                "Streams that went on without the server because of failure_mode_allow.",
            )?,
            rejected_changes: counter(
                "ext_proc_rejected_header_mutations_total",
                "Changes of headers that were not allowed or not possible.",
            )?,
            immediate: counter(
                "ext_proc_immediate_responses_total",
                "Requests that the server answered in place of the host.",
            )?,
            dropped: counter(
                "ext_proc_observed_dropped_total",
                "Messages not sent in observability_mode because the server was too slow.",
            )?,
            route_kept: counter(
                "ext_proc_clear_route_cache_ignored_total",
                "Requests of the server to look for the route again that were not followed.",
            )?,
            answer_time: context.metrics.histogram(
                "ext_proc_answer_seconds",
                "From the last message to its answer.",
                &labels,
            )?,
        })
    }
}
