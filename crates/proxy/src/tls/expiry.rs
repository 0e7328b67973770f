//! When certificates end: a metric that can be watched from afar, and warnings in the log for who watches nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::certificate::Certificate;
use super::client::ClientTls;
use super::server::ServerTls;
use super::source::{Good, Source};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// So long before its end a certificate is warned of. Those that live hardly longer are renewed by programs every day, and
/// a warning that always comes says nothing.
const WARNINGS: [Duration; 3] = [
    Duration::from_secs(30 * DAY.as_secs()),
    Duration::from_secs(7 * DAY.as_secs()),
    DAY,
];

/// The `tls` of a listener's chain, or of a cluster.
pub(crate) enum Shown {
    Server(Arc<ServerTls>),
    Client(Arc<ClientTls>),
}

/// A certificate that handshakes show.
pub(crate) struct Showing {
    /// The provider that gave it.
    pub(crate) provider: String,
    /// Its names of DNS.
    pub(crate) names: Vec<String>,
    /// Seconds until it, or one that leads from it to a root, ends; negative when one has.
    pub(crate) ends_in: i64,
}

impl Shown {
    /// What it shows now, without what was made on demand.
    pub(crate) fn certificates(&self, now: SystemTime) -> Vec<Showing> {
        let (sources, goods) = match self {
            Self::Server(tls) => (&tls.sources, tls.goods()),
            Self::Client(tls) => (&tls.sources, tls.goods()),
        };
        let of_source = |(source, good): (&Arc<Source>, &Arc<Good>)| {
            let showing = |certificate: &Certificate| Showing {
                provider: source.name.clone(),
                names: certificate.names.clone(),
                ends_in: seconds_until(certificate.ends, now),
            };
            good.certificates.iter().map(showing).collect::<Vec<_>>()
        };
        sources.iter().zip(&goods).flat_map(of_source).collect()
    }
}

/// Warns of certificates that end soon, each time once.
pub(super) fn warn(kind: &str, name: &str, goods: &[Arc<Good>]) {
    let now = SystemTime::now();
    for good in goods {
        let due = good.certificates.iter().map(|it| warnings(it, now)).max();
        let due = due.unwrap_or(0);
        if good.warned.fetch_max(due, Ordering::Relaxed) >= due {
            continue;
        }
        let soon = good.certificates.iter().filter(|it| warnings(it, now) > 0);
        for certificate in soon {
            let names = certificate.names.join(", ");
            match certificate.ends.duration_since(now) {
                Ok(left) => tracing::warn!(
                    names,
                    "a certificate of {kind} `{name}` ends in {}; renew it",
                    in_words(left)
                ),
                Err(_) => tracing::error!(
                    names,
                    "a certificate of {kind} `{name}` has ended, and peers refuse it; renew it"
                ),
            }
        }
    }
}

/// How many of the warnings of a certificate's end are due, its end itself among them.
fn warnings(certificate: &Certificate, now: SystemTime) -> usize {
    let Ok(left) = certificate.ends.duration_since(now) else {
        return WARNINGS.len() + 1;
    };
    let life = certificate.ends.duration_since(certificate.validity.0);
    let life = life.unwrap_or_default();
    let due = WARNINGS.iter().rposition(|before| left <= *before);
    match due {
        Some(index) if WARNINGS.get(index).is_some_and(|it| life > *it * 2) => index + 1,
        _ => 0,
    }
}

fn seconds_until(ends: SystemTime, now: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match ends.duration_since(now) {
        Ok(left) => seconds(left),
        Err(over) => -seconds(over.duration()),
    }
}

fn in_words(left: Duration) -> String {
    let hours = left.as_secs() / 3600;
    match hours {
        0..48 => format!("{hours} hours"),
        _ => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls_pki_types::PrivateKeyDer;

    /// A certificate that lives from 2020 on for so many days.
    fn certificate(days: i64) -> (Certificate, SystemTime) {
        let from = rcgen::date_time_ymd(2020, 1, 1);
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = from;
        params.not_after = from + Duration::from_secs(days as u64 * DAY.as_secs());
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let from = SystemTime::from(from);
        let certificate = Certificate::check(chain, key, None, from + DAY / 2).unwrap();
        (certificate, from)
    }

    #[test]
    fn warnings_come_thirty_seven_and_one_day_before_the_end() {
        let (certificate, from) = certificate(100);
        for (day, due) in [
            (1, 0),
            (69, 0),
            (70, 1),
            (92, 1),
            (93, 2),
            (99, 3),
            (101, 4),
        ] {
            assert_eq!(warnings(&certificate, from + DAY * day), due, "day {day}");
        }
        assert_eq!(seconds_until(certificate.ends, from + DAY * 99), 86_400);
        assert_eq!(seconds_until(certificate.ends, from + DAY * 101), -86_400);
    }

    #[test]
    fn a_certificate_that_never_lives_long_is_not_always_warned_of() {
        let (day_long, from) = certificate(1);
        assert_eq!(warnings(&day_long, from + DAY / 2), 0);
        assert_eq!(warnings(&day_long, from + DAY * 2), 4);
        let (month_long, from) = certificate(30);
        assert_eq!(warnings(&month_long, from + DAY * 2), 0);
        assert_eq!(warnings(&month_long, from + DAY * 24), 2);
    }
}
