//! Which stream filters see a request, in which order.

use std::collections::BTreeMap;

use transom_api::runtime::split_extension;
use transom_api::{Phase, Registry, StreamFilters};
use transom_config::{
    ExtensionName, Http, Resources, ResponseOrder, Route, RouteAction, RouteFilter, Use,
    VirtualHost,
};

use super::{FilterUse, Holds, Part, Place};
use crate::gate::would_hold;
use crate::http::head::Head;

/// The chain in the order in which requests pass it.
pub(super) fn explain(
    http: &Http,
    resources: &Resources,
    (registry, phases): (&Registry, &BTreeMap<String, Phase>),
    host: Option<&VirtualHost>,
    route: Option<&Route>,
    head: &Head,
) -> Vec<FilterUse> {
    let mut filters: Vec<FilterUse> = http
        .stream_filters
        .iter()
        .map(|used| {
            let when = used.when.as_ref().map(|when| match would_hold(when, head) {
                Some(true) => Holds::Yes,
                Some(false) => Holds::No,
                None => Holds::Perhaps,
            });
            let phase = used
                .phase
                .or_else(|| phase_of(used, resources, registry, phases));
            FilterUse {
                name: used.id.clone(),
                extension: resources
                    .implementation(used)
                    .map_or(&used.extension, |(extension, _)| extension)
                    .as_str()
                    .to_owned(),
                phase,
                on_failure: used.on_failure,
                part: match part_of(used, phase, host, route) {
                    Part::Runs(_) if when == Some(Holds::No) => Part::LeftOut,
                    part => part,
                },
                when,
                sample: used.sample,
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
        filters.iter().any(|filter| {
            filter.name == **name && !matches!(filter.part, Part::Disabled(_) | Part::LeftOut)
        })
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

/// The phase of a kind of filter; `None` when its configuration does not parse or it is not compiled in.
fn phase_of(
    used: &Use,
    resources: &Resources,
    registry: &Registry,
    phases: &BTreeMap<String, Phase>,
) -> Option<Phase> {
    let (extension, config) = resources.implementation(used)?;
    if let ExtensionName::Plugin(name) = extension
        && let Some(said) = phases.get(name)
    {
        return Some(*said);
    }
    let factory = match extension {
        ExtensionName::Plugin(name) => {
            let (plugin, extension) = split_extension(name);
            let declared = resources.plugins.get(plugin)?;
            let runtime = registry.runtime(&declared.runtime)?;
            let plugin = runtime.parse(plugin, &declared.declaration).ok()?;
            plugin.find::<StreamFilters>(extension)?
        }
        name => registry.find::<StreamFilters>(name.as_str()).ok()?,
    };
    Some(factory.parse(config).ok()?.phase())
}
