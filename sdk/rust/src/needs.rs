//! What a filter needs to see, for the wire.

use std::sync::{Arc, Mutex, PoisonError};

use transom_api::metrics::{Definition, MetricError, MetricId, MetricKind, MetricsHost};
use transom_api::{Metrics, NetworkWants, Wants};

use crate::proto::v1::{self, Needs, metric::Type};

/// What is asked for beside a filter's own wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asks {
    pub(crate) attributes: Vec<String>,
    pub(crate) request_headers: Vec<String>,
    pub(crate) response_headers: Vec<String>,
}

/// What a stream filter needs.
///
/// A filter reads headers in any of its callbacks, whatever it wants; so they are asked for with the bodies that come after them.
pub(crate) fn of_stream(wants: Wants, clusters: Vec<String>, asks: &Asks) -> Needs {
    let mut seen = wants;
    if wants.sees_response_body() {
        seen = seen.and(Wants::RESPONSE_HEADERS);
    }
    if seen.contains(Wants::RESPONSE_HEADERS)
        || wants.sees_request_body()
        || wants.contains(Wants::COMPLETE)
    {
        seen = seen.and(Wants::REQUEST_HEADERS);
    }
    Needs {
        callbacks: seen.bits(),
        request_headers: lower(&asks.request_headers),
        response_headers: lower(&asks.response_headers),
        attributes: asks.attributes.clone(),
        whole_request_body: wants.whole_request_body.unwrap_or(0),
        whole_response_body: wants.whole_response_body.unwrap_or(0),
        buffer_limit: wants.buffer_limit,
        clusters,
        metrics: Vec::new(),
    }
}

/// What a network filter needs.
pub(crate) fn of_network(wants: NetworkWants, clusters: Vec<String>, asks: &Asks) -> Needs {
    let data = if wants.data { 2 } else { 0 };
    let write = if wants.write { 16 } else { 0 };
    Needs {
        callbacks: data | write,
        attributes: asks.attributes.clone(),
        clusters,
        ..Needs::default()
    }
}

/// What the entries of an access log have.
pub(crate) fn of_log(asks: &Asks) -> Needs {
    Needs {
        request_headers: lower(&asks.request_headers),
        response_headers: lower(&asks.response_headers),
        attributes: asks.attributes.clone(),
        ..Needs::default()
    }
}

fn lower(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.to_ascii_lowercase()).collect()
}

/// The metrics that a use defines while it is prepared; their numbers are their places in the list.
#[derive(Default)]
pub(crate) struct Defined(Mutex<Vec<v1::Metric>>);

impl Defined {
    pub(crate) fn metrics(self: &Arc<Self>) -> Metrics {
        let host: Arc<Self> = Arc::clone(self);
        Metrics::new(host)
    }

    pub(crate) fn take(&self) -> Vec<v1::Metric> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MetricsHost for Defined {
    fn define(&self, definition: &Definition<'_>) -> Result<MetricId, MetricError> {
        let kind = match definition.kind {
            MetricKind::Counter => Type::Counter,
            MetricKind::Gauge => Type::Gauge,
            MetricKind::Histogram => Type::Histogram,
            MetricKind::Distribution => Type::Distribution,
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let metric = v1::Metric {
            r#type: kind.into(),
            name: definition.name.to_owned(),
            help: definition.help.to_owned(),
            labels: definition.labels.iter().map(owned).collect(),
        };
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = list
            .iter()
            .position(|other| other.name == metric.name && other.labels == metric.labels);
        let place = match known {
            Some(place) if list.get(place).is_some_and(|m| m.r#type == metric.r#type) => place,
            Some(_) => {
                return Err(MetricError {
                    message: format!("the metric `{}` is of two types", metric.name),
                });
            }
            None => {
                list.push(metric);
                list.len() - 1
            }
        };
        Ok(MetricId(u32::try_from(place).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The callbacks, in the order of their bits on the wire.
    const CALLBACKS: [Wants; 9] = [
        Wants::REQUEST_HEADERS,
        Wants::REQUEST_BODY,
        Wants::REQUEST_TRAILERS,
        Wants::RESPONSE_HEADERS,
        Wants::RESPONSE_BODY,
        Wants::RESPONSE_TRAILERS,
        Wants::COMPLETE,
        Wants::CHANGES_REQUEST_LENGTH,
        Wants::CHANGES_RESPONSE_LENGTH,
    ];

    #[test]
    fn each_callback_is_its_bit() {
        for (bit, callback) in CALLBACKS.into_iter().enumerate() {
            assert_eq!(callback.bits(), 1 << bit);
        }
        assert_eq!(Wants::EVERYTHING.bits(), 127);
    }

    #[test]
    fn headers_come_with_what_follows_them() {
        let asked = |wants| of_stream(wants, Vec::new(), &Asks::default()).callbacks;
        assert_eq!(asked(Wants::NOTHING), 0);
        assert_eq!(asked(Wants::REQUEST_HEADERS), 1);
        assert_eq!(asked(Wants::REQUEST_BODY), 1 | 2);
        assert_eq!(asked(Wants::RESPONSE_BODY), 1 | 8 | 16);
        assert_eq!(asked(Wants::COMPLETE), 1 | 64);
    }

    #[test]
    fn a_metric_defined_twice_is_one_and_of_two_types_is_refused() {
        let defined = Arc::new(Defined::default());
        let metrics = defined.metrics();
        let a = metrics.counter("a_total", "A.", &[("use", "x")]).unwrap();
        assert_eq!(metrics.counter("a_total", "A.", &[("use", "x")]), Ok(a));
        let b = metrics.counter("a_total", "A.", &[("use", "y")]).unwrap();
        assert_ne!(a, b);
        assert!(metrics.gauge("a_total", "A.", &[("use", "x")]).is_err());
        assert_eq!(defined.take().len(), 2);
    }
}
