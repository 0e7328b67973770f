//! For which requests and connections a use of an extension works (`when`, `sample`), ready to be asked.
//!
//! Asked before anything of the extension is made: what is left out costs the question alone, and a use without a gate
//! costs a look at an empty field.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use transom_api::{Attribute, Counter, MetricError, Metrics};
use transom_config::{Condition, IpNetwork, RouteMatch, Use};

use crate::http::head::Head;
use crate::router::matcher::{FieldTest, Matcher, Patterns, PatternsBuilder, Request};
use crate::stream::info::{Attributes, ConnectionInfo, StreamInfo};
use crate::worker::Worker;

/// The gate of a use, as all workers share it.
#[derive(Debug)]
pub(crate) struct PreparedGate {
    /// What it was made from: an equal one stays the same object.
    when: Option<Condition>,
    sample: Option<f64>,
    cases: Box<[Case]>,
    patterns: Patterns,
    /// What was left out by each of the two.
    unmet: Counter,
    unsampled: Counter,
}

/// The gate of a use on one worker.
pub(crate) struct Gate {
    pub(crate) prepared: Arc<PreparedGate>,
    /// Its searches have caches of their own.
    patterns: Patterns,
}

/// What must hold together.
#[derive(Debug)]
struct Case {
    request: Option<Matcher>,
    source_networks: Box<[IpNetwork]>,
    attributes: Box<[FieldTest]>,
    invert: bool,
}

/// What is asked about.
pub(crate) struct Subject<'s> {
    /// The request's head; `None` for a connection.
    pub(crate) request: Option<&'s Head>,
    /// The client's address; `None` for a Unix socket.
    pub(crate) source: Option<IpAddr>,
    /// Attributes by their names.
    pub(crate) attribute: &'s dyn Fn(&str) -> Option<Attribute<'s>>,
}

impl PreparedGate {
    /// The gate of a use that has one. `known` is the one that the use had before.
    pub(crate) fn new(
        used: &Use,
        known: Option<&Arc<Self>>,
        metrics: &Metrics,
    ) -> Result<Option<Arc<Self>>, MetricError> {
        let (when, sample) = (used.when.as_ref(), used.sample);
        if when.is_none() && sample.is_none() {
            return Ok(None);
        }
        if let Some(known) = known
            && known.when.as_ref() == when
            && known.sample == sample
        {
            return Ok(Some(Arc::clone(known)));
        }
        let skipped = |why| {
            metrics.counter(
                "uses_skipped_total",
                "Requests, connections and records that a use of an extension was not made for: its `when` did not hold, or its `sample` did not fall on them.",
                &[("use", &*used.id), ("by", why)],
            )
        };
        let (cases, patterns) = cases(when);
        Ok(Some(Arc::new(Self {
            when: when.cloned(),
            sample,
            cases,
            patterns,
            unmet: skipped("when")?,
            unsampled: skipped("sample")?,
        })))
    }
}

impl Gate {
    pub(crate) fn new(prepared: &Arc<PreparedGate>) -> Self {
        Self {
            prepared: Arc::clone(prepared),
            patterns: prepared.patterns.clone(),
        }
    }

    /// Whether the use works for this; if not, that is counted.
    pub(crate) fn admits(&self, worker: &Worker, subject: &Subject<'_>) -> bool {
        let Self { prepared, patterns } = self;
        let counter = if !prepared.cases.is_empty() && !any(&prepared.cases, patterns, subject) {
            prepared.unmet
        } else if prepared
            .sample
            .is_some_and(|percent| !is_chosen(percent, worker.random()))
        {
            prepared.unsampled
        } else {
            return true;
        };
        worker.shard.add(counter.0, 1);
        false
    }
}

/// Whether a condition holds for a request of which only the head is known. `None`: that depends on its connection.
pub(crate) fn would_hold(condition: &Condition, head: &Head) -> Option<bool> {
    let (cases, patterns) = cases(Some(condition));
    let (nobody, info, nothing) = (
        ConnectionInfo::of_nobody(),
        StreamInfo::new(),
        Head::default(),
    );
    let attributes = Attributes {
        connection: &nobody,
        info: &info,
        request: head,
        response: &nothing,
        route_name: None,
        virtual_host: None,
        route: None,
    };
    let mut doubtful = false;
    for case in &cases {
        let (of_request, of_connection): (Vec<_>, Vec<_>) = case
            .attributes
            .iter()
            .partition(|test| test.name().starts_with("request."));
        let asked = case.holds_for_request(&patterns, Some(head))
            && of_request
                .iter()
                .all(|test| test.holds(&patterns, attributes.get(test.name()).map(text)));
        // Where the request has it fail, the rest makes no difference any more.
        let is_known = !asked || case.source_networks.is_empty() && of_connection.is_empty();
        if !is_known {
            doubtful = true;
        } else if asked != case.invert {
            return Some(true);
        }
    }
    (!doubtful).then_some(false)
}

/// Whether something is among so many percent.
pub(crate) fn is_chosen(percent: f64, random: u64) -> bool {
    // 2^64 parts; all of them at 100.
    (random as f64) < percent / 100.0 * 2_f64.powi(64) || percent >= 100.0
}

fn cases(when: Option<&Condition>) -> (Box<[Case]>, Patterns) {
    let mut patterns = PatternsBuilder::default();
    let cases = when.iter().flat_map(|when| &when.cases);
    let cases = cases
        .map(|case| Case {
            request: case
                .request
                .as_ref()
                .map(|request: &RouteMatch| Matcher::new(request, &mut patterns)),
            source_networks: case.source_networks.as_slice().into(),
            attributes: case
                .attributes
                .iter()
                .map(|field| FieldTest::new(field, &mut patterns))
                .collect(),
            invert: case.invert,
        })
        .collect();
    (cases, patterns.finish())
}

fn any(cases: &[Case], patterns: &Patterns, subject: &Subject<'_>) -> bool {
    cases.iter().any(|case| case.holds(patterns, subject))
}

impl Case {
    fn holds(&self, patterns: &Patterns, subject: &Subject<'_>) -> bool {
        let all = self.holds_for_request(patterns, subject.request)
            && (self.source_networks.is_empty()
                || subject.source.is_some_and(|source| {
                    let mut networks = self.source_networks.iter();
                    networks.any(|network| network.contains(source))
                }))
            && self.attributes.iter().all(|test| {
                let value = (subject.attribute)(test.name());
                test.holds(patterns, value.map(text))
            });
        all != self.invert
    }

    fn holds_for_request(&self, patterns: &Patterns, head: Option<&Head>) -> bool {
        let Some(matcher) = &self.request else {
            return true;
        };
        head.is_some_and(|head| {
            let request = Request::of(head);
            matcher.takes_path(patterns, request.path) && matcher.takes_rest(patterns, &request)
        })
    }
}

fn text(attribute: Attribute<'_>) -> Cow<'_, [u8]> {
    match attribute {
        Attribute::Bytes(bytes) => bytes,
        other => Cow::Owned(other.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use transom_config::{FieldMatch, PathMatch, ValueMatch};

    use super::*;
    use crate::http::head::Pseudo;

    #[test]
    fn chance_takes_its_share() {
        for (percent, random, chosen) in [
            (0.0, 0, false),
            (100.0, u64::MAX, true),
            (50.0, u64::MAX / 2 - (1 << 20), true),
            (50.0, u64::MAX / 2 + (1 << 20), false),
            (0.1, u64::MAX / 2_000, true),
            (0.1, u64::MAX / 500, false),
        ] {
            assert_eq!(is_chosen(percent, random), chosen, "{percent} {random}");
        }
    }

    fn head(path: &str) -> Head {
        let mut head = Head::default();
        head.set_pseudo(Pseudo::Method, b"GET");
        head.set_pseudo(Pseudo::Path, path.as_bytes());
        head.set_pseudo(Pseudo::Authority, b"a.org");
        head
    }

    fn case(
        prefix: Option<&str>,
        networks: &[&str],
        attributes: &[(&str, &str)],
    ) -> transom_config::Case {
        transom_config::Case {
            request: prefix.map(|prefix| PathMatch::Prefix(prefix.to_owned()).into()),
            source_networks: networks.iter().map(|it| it.parse().unwrap()).collect(),
            attributes: attributes
                .iter()
                .map(|(name, value)| FieldMatch {
                    name: (*name).to_owned(),
                    value: ValueMatch::Exact((*value).to_owned()),
                    invert: false,
                })
                .collect(),
            invert: false,
        }
    }

    fn holds(cases_: &[transom_config::Case], path: &str, source: Option<&str>) -> bool {
        let condition = Condition {
            cases: cases_.to_vec(),
        };
        let (cases, patterns) = cases(Some(&condition));
        let head = head(path);
        let attribute = |name: &str| match name {
            "destination.port" => Some(Attribute::Int(443)),
            "connection.mtls" => Some(Attribute::Bool(true)),
            _ => None,
        };
        let subject = Subject {
            request: Some(&head),
            source: source.map(|source| source.parse().unwrap()),
            attribute: &attribute,
        };
        any(&cases, &patterns, &subject)
    }

    #[test]
    fn all_of_a_case_must_hold_and_one_of_several_cases() {
        let api = case(Some("/api/"), &["10.0.0.0/8"], &[]);
        let tls = case(
            None,
            &[],
            &[("destination.port", "443"), ("connection.mtls", "true")],
        );
        let other = case(None, &[], &[("destination.port", "80")]);
        let both = [api.clone(), other.clone()];
        assert!(holds(&both, "/api/a", Some("10.1.2.3")));
        assert!(!holds(&both, "/api/a", Some("192.168.0.1")));
        assert!(!holds(&both, "/api/a", None));
        assert!(!holds(&both, "/", Some("10.1.2.3")));
        assert!(holds(&[api, tls], "/", None));
        let inverted = transom_config::Case {
            invert: true,
            ..other
        };
        assert!(holds(&[inverted], "/", None));
    }

    #[test]
    fn what_only_the_connection_knows_is_left_open() {
        let would = |case: transom_config::Case, path: &str| {
            would_hold(&Condition { cases: vec![case] }, &head(path))
        };
        let networks = ["10.0.0.0/8"];
        assert_eq!(would(case(Some("/a"), &[], &[]), "/a"), Some(true));
        assert_eq!(would(case(Some("/a"), &[], &[]), "/b"), Some(false));
        assert_eq!(would(case(Some("/a"), &networks, &[]), "/b"), Some(false));
        assert_eq!(would(case(Some("/a"), &networks, &[]), "/a"), None);
        let host = case(None, &[], &[("request.host", "a.org")]);
        assert_eq!(would(host.clone(), "/"), Some(true));
        let inverted = transom_config::Case {
            invert: true,
            ..host
        };
        assert_eq!(would(inverted, "/"), Some(false));
        assert_eq!(
            would(case(None, &[], &[("connection.mtls", "true")]), "/"),
            None
        );
    }
}
