//! The certificates that listeners and clusters show, and when they end.

use std::sync::Arc;
use std::time::SystemTime;

use transom_api::Node;
use transom_api::control::{MetricFamily, MetricSample, MetricValue};
use transom_api::metrics::MetricKind;

use super::snapshot::Snapshot;
use crate::tls::expiry::Shown;

/// A certificate that a listener or cluster shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// `listener` or `cluster`.
    pub of: &'static str,
    /// The name of the listener or cluster.
    pub name: String,
    /// The certificate provider that gave it.
    pub provider: String,
    /// Its names of DNS, in lower case.
    pub names: Vec<String>,
    /// Seconds until it, or one that leads from it to a root, ends; negative when one has.
    pub ends_in: i64,
}

impl CertificateStatus {
    /// For the admin interface.
    #[must_use]
    pub fn node(&self) -> Node {
        const DAY: i64 = 24 * 60 * 60;
        Node::map([
            ("of", self.of.into()),
            ("name", self.name.as_str().into()),
            ("provider", self.provider.as_str().into()),
            (
                "names",
                Node::list(self.names.iter().map(|name| Node::from(name.as_str()))),
            ),
            ("expires_in_seconds", self.ends_in.into()),
            ("expires_in_days", self.ends_in.div_euclid(DAY).into()),
        ])
    }
}

/// The TLS of everything in a snapshot.
#[derive(Default)]
pub(super) struct Held(Vec<(&'static str, String, Shown)>);

impl Held {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let listeners = snapshot.listeners.iter().flat_map(|(name, listener)| {
            let tls = listener.chains.iter().filter_map(|it| it.tls.as_ref());
            tls.map(|it| ("listener", name.clone(), Shown::Server(Arc::clone(&it.tls))))
        });
        let clusters = snapshot.clusters.iter().filter_map(|(name, cluster)| {
            let tls = Arc::clone(cluster.tls.as_ref()?);
            Some(("cluster", name.clone(), Shown::Client(tls)))
        });
        Self(listeners.chain(clusters).collect())
    }

    /// What they show now. What was made on demand is not among it.
    pub(super) fn certificates(&self) -> Vec<CertificateStatus> {
        let now = SystemTime::now();
        let of_one = |(of, name, shown): &(&'static str, String, Shown)| {
            let (of, name) = (*of, name.clone());
            let status = move |showing: crate::tls::expiry::Showing| CertificateStatus {
                of,
                name: name.clone(),
                provider: showing.provider,
                names: showing.names,
                ends_in: showing.ends_in,
            };
            shown.certificates(now).into_iter().map(status)
        };
        self.0.iter().flat_map(of_one).collect()
    }
}

/// The gauge with the seconds until the first certificate of each listener and cluster ends.
pub(super) fn family(certificates: &[CertificateStatus]) -> Option<MetricFamily> {
    let mut first: Vec<&CertificateStatus> = Vec::new();
    for certificate in certificates {
        let same =
            |it: &&mut &CertificateStatus| it.of == certificate.of && it.name == certificate.name;
        match first.iter_mut().find(same) {
            Some(known) if known.ends_in <= certificate.ends_in => {}
            Some(known) => *known = certificate,
            None => first.push(certificate),
        }
    }
    let sample = |it: &&CertificateStatus| MetricSample {
        labels: vec![
            ("of".to_owned(), it.of.to_owned()),
            ("name".to_owned(), it.name.clone()),
        ],
        value: MetricValue::Number(it.ends_in),
    };
    (!first.is_empty()).then(|| MetricFamily {
        name: "transom_tls_certificate_expiry_seconds".to_owned(),
        help: "Seconds until the first certificate of a listener's or cluster's TLS ends; negative when it has."
            .to_owned(),
        kind: MetricKind::Gauge,
        samples: first.iter().map(sample).collect(),
    })
}
