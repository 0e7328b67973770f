//! Which stream filters see a request, in which order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use transom_api::{Phase, PrepareContext, Registry, SharedData, StreamFilters};
use transom_config::{
    ExtensionName, Http, ResponseOrder, Route, RouteAction, RouteFilter, Use, VirtualHost,
};

use super::{FilterUse, Part, Place};
use crate::metrics::MetricStore;
use crate::shared::SharedStore;

/// The chain in the order in which requests pass it.
pub(super) fn explain(
    http: &Http,
    registry: &Registry,
    host: Option<&VirtualHost>,
    route: Option<&Route>,
) -> Vec<FilterUse> {
    let mut filters: Vec<FilterUse> = http
        .stream_filters
        .iter()
        .map(|used| {
            let phase = used.phase.or_else(|| phase_of(used, registry));
            FilterUse {
                name: used.id.clone(),
                extension: used.extension.as_str().to_owned(),
                phase,
                on_failure: used.on_failure,
                part: part_of(used, phase, host, route),
            }
        })
        .collect();
    // Stable, as the chain itself: within a phase the order of the configuration holds.
    filters.sort_by_key(|filter| filter.phase);
    filters
}

/// The names in the order in which responses pass them.
pub(super) fn response_order(filters: &[FilterUse], http: &Http) -> Vec<String> {
    // A request that no filter of a phase saw is answered through that phase's filters all the same.
    let runs = |name: &&String| {
        filters
            .iter()
            .any(|filter| filter.name == **name && !matches!(filter.part, Part::Disabled(_)))
    };
    match http.response_order {
        ResponseOrder::Reverse => {
            let names = filters.iter().rev().map(|filter| &filter.name);
            names.filter(runs).cloned().collect()
        }
        ResponseOrder::Config => {
            let names = http.stream_filters.iter().map(|used| &used.id);
            names.filter(runs).cloned().collect()
        }
    }
}

fn part_of(
    used: &Use,
    phase: Option<Phase>,
    host: Option<&VirtualHost>,
    route: Option<&Route>,
) -> Part {
    if used.disabled {
        return Part::Disabled(Place::Listener);
    }
    let forwards = route.is_some_and(|route| matches!(route.action, RouteAction::Forward(_)));
    if phase == Some(Phase::AfterChooseHost) && !forwards {
        return Part::NotReached;
    }
    let Some(route) = route else {
        // What a virtual host says holds for its routes: without one the listener's word is the last.
        return Part::Runs(Place::Listener);
    };
    let said = |filters: &BTreeMap<String, RouteFilter>, place| {
        filters.get(&used.id).map(|filter| match filter {
            RouteFilter::Disabled => Part::Disabled(place),
            RouteFilter::Config(_) => Part::Runs(place),
        })
    };
    said(&route.filters, Place::Route)
        .or_else(|| said(&host?.filters, Place::VirtualHost))
        .unwrap_or(Part::Runs(Place::Listener))
}

/// The phase of a kind of filter, which only its prepared configuration tells. What is compiled in prepares at once and
/// touches nothing but the metrics that it is handed, so it is prepared with metrics of its own; what is not compiled
/// in is never prepared for a question.
fn phase_of(used: &Use, registry: &Registry) -> Option<Phase> {
    let ExtensionName::Builtin(name) = &used.extension else {
        return None;
    };
    let factory = registry.find::<StreamFilters>(name).ok()?;
    let parsed = factory.parse(&used.config).ok()?;
    let mut prepare = parsed.prepare(PrepareContext {
        instance: Arc::from(used.id.as_str()),
        workers: 1,
        metrics: MetricStore::new(1).metrics(),
        shared: SharedData::new(Arc::new(SharedStore::new())),
    });
    match prepare
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(Ok(config)) => Some(config.phase()),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}
