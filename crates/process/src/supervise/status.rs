//! What the supervisor knows, for the admin API.

use std::time::Duration;

use transom_api::Node;
use transom_api::control::{MetricFamily, MetricSample, MetricValue};
use transom_api::metrics::MetricKind;

use super::load::{BUCKETS, Counts};
use super::plugin::{Plugin, lock};
use super::slot::{self, Report};
use super::state::State;
use super::supervisor::Supervisor;
use super::swap::Swapping;
use crate::launch::Granted;

impl Supervisor {
    /// A plugin with all that is known of it; `None` for a name that there is not.
    pub fn describe(&self, name: &str) -> Option<Node> {
        let versions = self.versions(name);
        let newest = versions.last()?;
        Some(Node::map([
            ("name", name.into()),
            ("state", newest.state().name().into()),
            ("enabled", newest.is_enabled().into()),
            ("calls", counts(&self.counts(name))),
            (
                "versions",
                Node::list(versions.iter().map(|plugin| version(plugin))),
            ),
        ]))
    }

    /// All plugins.
    pub fn describe_all(&self) -> Node {
        Node::list(self.names().iter().filter_map(|name| self.describe(name)))
    }

    /// What is counted of each plugin, for `/metrics`.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let all: Vec<Measured> = self
            .names()
            .into_iter()
            .map(|name| {
                let versions = self.versions(&name);
                Measured {
                    counts: self.counts(&name),
                    totals: Totals::of(&versions),
                    name,
                }
            })
            .collect();
        if all.is_empty() {
            return Vec::new();
        }
        vec![
            number(
                &all,
                "calls_total",
                MetricKind::Counter,
                "Calls of a plugin that ended.",
                |one| one.counts.calls,
            ),
            number(
                &all,
                "errors_total",
                MetricKind::Counter,
                "Calls of a plugin that failed.",
                |one| one.counts.errors,
            ),
            number(
                &all,
                "timeouts_total",
                MetricKind::Counter,
                "Calls of a plugin that were not answered in time.",
                |one| one.counts.timeouts,
            ),
            number(
                &all,
                "given_up_total",
                MetricKind::Counter,
                "Calls of a plugin whose client went away.",
                |one| one.counts.given_up,
            ),
            number(
                &all,
                "refused_total",
                MetricKind::Counter,
                "Calls that were not made because the plugin's bounds were reached.",
                |one| one.counts.busy,
            ),
            latency(&all),
            number(
                &all,
                "in_flight",
                MetricKind::Gauge,
                "Calls of a plugin under way.",
                |one| one.counts.in_flight.into(),
            ),
            number(
                &all,
                "instances",
                MetricKind::Gauge,
                "Processes of a plugin that take calls.",
                |one| one.totals.running,
            ),
            number(
                &all,
                "restarts_total",
                MetricKind::Counter,
                "Processes of a plugin that were started after the first, by the versions that run.",
                |one| one.totals.restarts,
            ),
            number(
                &all,
                "failed_checks_total",
                MetricKind::Counter,
                "Health checks of a plugin that failed, of the versions that run.",
                |one| one.totals.failed_checks,
            ),
            number(
                &all,
                "memory_bytes",
                MetricKind::Gauge,
                "Resident memory of a plugin's processes and of what they started.",
                |one| one.totals.memory,
            ),
            number(
                &all,
                "cpu_milliseconds_total",
                MetricKind::Counter,
                "CPU time that a plugin's processes have used, of the versions that run.",
                |one| one.totals.cpu.as_millis().try_into().unwrap_or(u64::MAX),
            ),
        ]
    }
}

struct Measured {
    name: String,
    counts: Counts,
    totals: Totals,
}

/// What the processes of a plugin come to.
#[derive(Default)]
struct Totals {
    running: u64,
    restarts: u64,
    failed_checks: u64,
    memory: u64,
    cpu: Duration,
}

impl Totals {
    fn of(versions: &[std::sync::Arc<Plugin>]) -> Self {
        let mut totals = Self::default();
        for report in versions.iter().flat_map(|plugin| plugin.reports()) {
            let facts = report.facts();
            totals.running += u64::from(facts.state.runs());
            totals.restarts += facts.restarts;
            totals.failed_checks += facts.failed_checks;
            totals.memory += facts.usage.memory;
            totals.cpu += facts.spent + facts.usage.cpu;
        }
        totals
    }
}

fn labels(name: &str) -> Vec<(String, String)> {
    vec![("plugin".to_owned(), name.to_owned())]
}

fn number(
    all: &[Measured],
    name: &str,
    kind: MetricKind,
    help: &str,
    value: impl Fn(&Measured) -> u64,
) -> MetricFamily {
    MetricFamily {
        name: format!("transom_plugin_{name}"),
        help: help.to_owned(),
        kind,
        samples: all
            .iter()
            .map(|one| MetricSample {
                labels: labels(&one.name),
                value: MetricValue::Number(i64::try_from(value(one)).unwrap_or(i64::MAX)),
            })
            .collect(),
    }
}

fn latency(all: &[Measured]) -> MetricFamily {
    MetricFamily {
        name: "transom_plugin_call_seconds".to_owned(),
        help: "How long calls of a plugin took.".to_owned(),
        kind: MetricKind::Histogram,
        samples: all
            .iter()
            .map(|one| {
                let mut count = 0;
                let buckets = BUCKETS
                    .iter()
                    .zip(&one.counts.buckets)
                    .map(|(bound, calls)| {
                        count += calls;
                        (*bound as f64 / 1e6, count)
                    })
                    .collect();
                MetricSample {
                    labels: labels(&one.name),
                    value: MetricValue::Histogram {
                        buckets,
                        sum: one.counts.time.as_secs_f64(),
                        count: one.counts.buckets.iter().sum(),
                    },
                }
            })
            .collect(),
    }
}

fn version(plugin: &Plugin) -> Node {
    let spec = plugin.spec();
    Node::map([
        ("state", plugin.state().name().into()),
        (
            "command",
            Node::list(spec.command.iter().map(|word| word.as_str().into())),
        ),
        ("origin", optional(spec.origin.as_deref().map(Node::from))),
        ("protocol", spec.protocol.name().into()),
        ("address", optional(spec.address.as_deref().map(Node::from))),
        (
            "sha256",
            optional(spec.trust.sha256.map(|digest| hex(&digest).as_str().into())),
        ),
        ("signed", spec.trust.minisign.is_some().into()),
        ("sandboxed", spec.sandbox.is_some().into()),
        ("calls", counts(&plugin.counts())),
        ("swap", swapping(plugin)),
        (
            "instances",
            Node::list(
                plugin
                    .reports()
                    .iter()
                    .map(|report| process(report, plugin.is_stopping())),
            ),
        ),
    ])
}

/// How the last swap went; nothing if there was none.
fn swapping(plugin: &Plugin) -> Node {
    let groups = lock(&plugin.groups);
    let (state, why) = match &groups.swapping {
        Swapping::Never => return Node::null(),
        Swapping::Watched => ("watched", None),
        Swapping::Promoted => ("promoted", None),
        Swapping::RolledBack(why) => ("rolled_back", Some(why.as_str())),
    };
    let candidate = groups.candidate.as_ref();
    Node::map([
        ("state", state.into()),
        ("why", optional(why.map(Node::from))),
        (
            "new_version",
            optional(candidate.map(|group| counts(&group.load.counts()))),
        ),
    ])
}

fn process(report: &Report, stopping: bool) -> Node {
    let facts = report.facts();
    let state = match stopping && facts.state.runs() {
        true => State::Draining,
        false => facts.state,
    };
    let now = tokio::time::Instant::now();
    Node::map([
        ("state", state.name().into()),
        ("pid", optional(facts.pid.map(|pid| i64::from(pid).into()))),
        ("number", whole(facts.number)),
        ("protocol_version", i64::from(facts.version).into()),
        (
            "uptime_ms",
            optional(facts.since.map(|since| milliseconds(now - since))),
        ),
        ("in_flight", i64::from(facts.in_flight).into()),
        ("restarts", whole(facts.restarts)),
        ("last_end", optional(facts.last.as_deref().map(Node::from))),
        (
            "next_start_ms",
            optional(
                facts
                    .next
                    .map(|next| milliseconds(next.saturating_duration_since(now))),
            ),
        ),
        ("failed_checks", whole(facts.failed_checks)),
        ("memory_bytes", whole(facts.usage.memory)),
        ("cpu_ms", milliseconds(facts.spent + facts.usage.cpu)),
        ("processes", i64::from(facts.usage.processes).into()),
        ("descriptors", i64::from(facts.usage.descriptors).into()),
        (
            "sandbox",
            optional(report.output.granted().map(|granted| sandbox(&granted))),
        ),
        ("cgroup", optional(facts.cgroup.as_ref().map(cgroup))),
        (
            "output",
            Node::list(report.output.tail().iter().map(|line| line.as_str().into())),
        ),
    ])
}

fn cgroup(granted: &slot::Granted) -> Node {
    let names = |names: &[&str]| Node::list(names.iter().map(|name| (*name).into()));
    Node::map([
        ("path", granted.path.as_str().into()),
        ("held", names(&granted.held)),
        ("missing", names(&granted.missing)),
    ])
}

fn sandbox(granted: &Granted) -> Node {
    Node::map([
        ("full", granted.full.into()),
        (
            "landlock_abi",
            optional(granted.landlock.map(|abi| i64::from(abi).into())),
        ),
        ("seccomp", granted.seccomp.into()),
        ("no_new_privs", granted.no_new_privs.into()),
        ("user", optional(granted.user.as_deref().map(Node::from))),
        ("verified_files", i64::from(granted.verified).into()),
        (
            "missing",
            Node::list(granted.missing.iter().map(|text| text.as_str().into())),
        ),
    ])
}

fn counts(counts: &Counts) -> Node {
    let quantile = |part| {
        optional(counts.quantile(part).map(|time| {
            // Microseconds: a float of milliseconds would be rounded here and there.
            whole(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        }))
    };
    Node::map([
        ("ended", whole(counts.calls)),
        ("errors", whole(counts.errors)),
        ("timeouts", whole(counts.timeouts)),
        ("given_up", whole(counts.given_up)),
        ("refused", whole(counts.busy)),
        ("in_flight", i64::from(counts.in_flight).into()),
        ("p50_us", quantile(0.5)),
        ("p90_us", quantile(0.9)),
        ("p99_us", quantile(0.99)),
    ])
}

fn optional(node: Option<Node>) -> Node {
    node.unwrap_or_else(Node::null)
}

fn whole(number: u64) -> Node {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn milliseconds(time: Duration) -> Node {
    whole(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
