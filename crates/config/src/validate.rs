//! What only the registry knows: whether extensions exist and accept their configurations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use transom_api::kind::{
    AccessLogs, CertificateProviders, Clients, ListenerFilters, NetworkFilters, Selectors, Servers,
    ServiceRegistries, StreamFilters, Transports,
};
use transom_api::node::known;
use transom_api::runtime::split_extension;
use transom_api::{ExtensionKind, Factory, Kind, Node, NodeKind, Parsed, Plugin, Registry, Span};

use crate::lower::{PARTS_OF_PROXY, without_end};
use crate::problems::Problems;
use crate::report::Problem;
use crate::{
    Configuration, Extension, ExtensionName, HostAddress, Http, NetworkFilter, Report, Resources,
    RouteFilter, Targets, Use,
};

/// Checks every use of an extension against `registry`: that there is one of the name, that it accepts its
/// configuration and those that routes have for it, and that the clusters that it wants to call exist.
///
/// Pure, as [`Factory::parse`] is: no file is opened and nothing is started.
pub fn validate(configuration: &Configuration, registry: &Registry) -> Result<(), Report> {
    let mut problems = Problems::default();
    check(&configuration.resources, registry, true, &mut problems);
    if problems.is_empty() {
        return Ok(());
    }
    Err(Report::new(
        problems.into_vec(),
        configuration.sources.clone(),
    ))
}

/// The same for resources that may be incomplete: then `complete` is false, and clusters are not missed.
pub(crate) fn check(
    resources: &Resources,
    registry: &Registry,
    complete: bool,
    problems: &mut Problems,
) {
    let mut check = Check {
        resources,
        registry,
        plugins: BTreeMap::new(),
        complete,
        routes: BTreeSet::new(),
        declared: BTreeSet::new(),
        problems,
    };
    check.plugins();
    for cluster in resources.clusters.values() {
        // The default is there wherever the proxy is.
        if cluster.load_balancing.span.is_some() {
            check.one::<Selectors>(&cluster.load_balancing);
        }
        if let Some(discovery) = &cluster.discovery {
            check.one::<ServiceRegistries>(&discovery.registry);
        }
        // Those that stand for themselves were looked at when they were chosen.
        for used in cluster.transport.iter().filter(|used| used.span.is_some()) {
            check.one::<Transports>(used);
        }
        for used in cluster.client.iter().filter(|used| used.span.is_some()) {
            check.one::<Clients>(used);
        }
        for used in cluster.tls.iter().flat_map(|tls| &tls.providers) {
            check.one::<CertificateProviders>(used);
        }
    }
    for listener in resources.listeners.values() {
        let of_chains = listener.chains().filter_map(|chain| chain.tls);
        for used in of_chains.flat_map(|tls| &tls.providers) {
            check.one::<CertificateProviders>(used);
        }
        for used in &listener.listener_filters {
            check.one::<ListenerFilters>(used);
        }
        for used in &listener.access_logs {
            check.one::<AccessLogs>(used);
        }
        for chain in listener.chains() {
            check.network_filters(chain.network_filters);
        }
    }
    check.unused();
}

/// An extension that there is, and its configuration, when that is good.
type Checked<K> = (Arc<dyn Factory<K>>, Option<Arc<dyn Parsed<K>>>);

struct Check<'c> {
    resources: &'c Resources,
    registry: &'c Registry,
    /// The plugins whose declarations are good.
    plugins: BTreeMap<&'c str, Plugin>,
    complete: bool,
    /// Route table, name of the use and extension of the routes' configurations that were looked at: listeners that
    /// share a table do not each report its mistakes.
    routes: BTreeSet<(&'c str, &'c str, &'c str)>,
    /// Declared extensions that were looked at for a use of the kind: their users do not each report their mistakes.
    declared: BTreeSet<(&'c str, Kind)>,
    problems: &'c mut Problems,
}

impl<'c> Check<'c> {
    fn plugins(&mut self) {
        for (name, declared) in &self.resources.plugins {
            let runtime = &declared.runtime;
            let Some(hosts) = self.registry.runtime(runtime) else {
                let names = self.registry.runtimes();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let help = known(runtime, "runtimes", &names);
                let message = format!("unknown runtime `{runtime}`");
                self.problems
                    .push(Problem::new(message, runtime.span).with_help(help));
                continue;
            };
            match hosts.parse(name, &declared.declaration) {
                Ok(plugin) => drop(self.plugins.insert(name, plugin)),
                Err(error) => {
                    let error = error.or_at(declared.declaration.span.or(declared.span));
                    self.problems.push(error);
                }
            }
        }
    }

    fn network_filters(&mut self, filters: &'c [NetworkFilter]) {
        for (index, filter) in filters.iter().enumerate() {
            match filter {
                NetworkFilter::Http(http) => self.http(http),
                NetworkFilter::TcpProxy(proxy) => {
                    for used in &proxy.access_logs {
                        self.one::<AccessLogs>(used);
                    }
                }
                NetworkFilter::UdpProxy(proxy) => {
                    self.takes_datagrams(&proxy.targets);
                    for used in &proxy.access_logs {
                        self.one::<AccessLogs>(used);
                    }
                }
                NetworkFilter::Extension(used) => {
                    let Some((_, Some(parsed))) = self.one::<NetworkFilters>(used) else {
                        continue;
                    };
                    self.end(used, parsed.is_terminal(), filters.get(index + 1));
                }
            }
        }
    }

    /// The hosts of these clusters are at addresses of IP.
    fn takes_datagrams(&mut self, targets: &Targets) {
        let of_routes = targets.routes.iter().flat_map(|route| &route.clusters);
        for weighted in of_routes.chain(&targets.clusters) {
            let cluster = self.resources.clusters.get(weighted.cluster.as_str());
            let hosts = cluster.and_then(|cluster| self.resources.host_sets.get(&cluster.host_set));
            let unix = hosts.and_then(|set| {
                let mut hosts = set.hosts.iter();
                hosts.find(|host| matches!(host.address, HostAddress::Unix(_)))
            });
            if let Some(unix) = unix {
                let (cluster, address) = (&weighted.cluster, &unix.address);
                self.problems.push(
                    Problem::new(
                        format!("`{cluster}` has the host {address}, which takes no datagrams"),
                        cluster.span,
                    )
                    .with_help("`udp_proxy` sends to IP addresses and ports"),
                );
            }
        }
    }

    /// A filter that ends its chain must be the last, and the last must end it.
    fn end(&mut self, used: &Use, is_terminal: bool, next: Option<&NetworkFilter>) {
        let name = used.extension.as_str();
        match (is_terminal, next) {
            (true, Some(next)) => {
                let next = match next {
                    NetworkFilter::Extension(next) => next.span,
                    _ => None,
                };
                self.problems.push(
                    Problem::new("this network filter must be the last one", used.span)
                        .with_label(next, "what comes after it would see nothing")
                        .with_help(format!(
                            "`{name}` answers the client itself and ends the chain"
                        )),
                );
            }
            (true, None) if used.disabled => {
                let message = format!("`{name}` cannot be disabled: the chain needs its end");
                self.problems.push(Problem::new(message, used.span));
            }
            (true, None) if used.when.is_some() || used.sample.is_some() => {
                let message =
                    format!("`{name}` has neither `when` nor `sample`: the chain needs its end");
                self.problems.push(
                    Problem::new(message, used.span)
                        .with_help("choose connections by the `match` of a filter chain"),
                );
            }
            // In a configuration with other mistakes the end may be what could not be read.
            (false, None) if self.complete => self.problems.push(without_end(used.span)),
            _ => {}
        }
    }

    fn http(&mut self, http: &'c Http) {
        for used in &http.stream_filters {
            if let Some((factory, _)) = self.one::<StreamFilters>(used) {
                self.routes(&http.route_table.value, used, factory.as_ref());
            }
        }
        // One that was chosen was looked at then.
        for used in http.protocol.iter().filter(|used| used.span.is_some()) {
            self.one::<Servers>(used);
        }
        for used in &http.access_logs {
            self.one::<AccessLogs>(used);
        }
    }

    /// Checks one use. Its factory, when there is one, and its configuration, when that is good.
    fn one<K: ExtensionKind>(&mut self, used: &'c Use) -> Option<Checked<K>> {
        self.bounds(used);
        let ExtensionName::Resource(name) = &used.extension else {
            let written = Written {
                extension: &used.extension,
                id: &used.id,
                config: &used.config,
                span: used.span,
                used: None,
            };
            return self.written(&written);
        };
        // The loader has told of a name that is not there.
        let declared = self.resources.extensions.get(name)?;
        if !self.declared.insert((name, K::KIND)) {
            let factory = self.find::<K>(&declared.extension)?;
            let parsed = factory.parse(&declared.config).ok();
            return Some((factory, parsed));
        }
        self.written(&Written::declared(declared, used.span))
    }

    /// Bounds of a use are kept by the runtime of its plugin.
    fn bounds(&mut self, used: &Use) {
        if used.bounds.is_none() {
            return;
        }
        let name = used.extension.as_str();
        let message = match &used.extension {
            ExtensionName::Builtin(_) => format!("`{name}` is compiled in and has no `bounds`"),
            ExtensionName::Resource(_) => "`bounds` has no meaning beside `extension`".to_owned(),
            ExtensionName::Plugin(_) => {
                let (plugin, _) = split_extension(name);
                match self.plugins.get(plugin) {
                    Some(declared) if !declared.bounds_uses() => {
                        format!("the plugin `{plugin}` has no `bounds` of single uses")
                    }
                    // One that is not there, or has a mistake of its own, was told of already.
                    _ => return,
                }
            }
        };
        self.problems.push(
            Problem::new(message, used.span)
                .with_help("`bounds` are those of a use of a plugin in a process of its own"),
        );
    }

    /// Declared extensions that nothing uses: of which kind they are is not known.
    fn unused(&mut self) {
        for (name, declared) in &self.resources.extensions {
            if self.declared.iter().any(|(used, _)| used == name) {
                continue;
            }
            let written = Written::declared(declared, None);
            let name = &declared.extension;
            if matches!(name, ExtensionName::Plugin(_)) {
                // It may have several kinds of the name: which one is meant shows the first use.
                continue;
            }
            if self.find::<NetworkFilters>(name).is_some() {
                self.written::<NetworkFilters>(&written);
            } else if self.find::<ListenerFilters>(name).is_some() {
                self.written::<ListenerFilters>(&written);
            } else if self.find::<AccessLogs>(name).is_some() {
                self.written::<AccessLogs>(&written);
            } else if self.find::<CertificateProviders>(name).is_some() {
                self.written::<CertificateProviders>(&written);
            } else if self.find::<Selectors>(name).is_some() {
                self.written::<Selectors>(&written);
            } else if self.find::<ServiceRegistries>(name).is_some() {
                self.written::<ServiceRegistries>(&written);
            } else if self.find::<Clients>(name).is_some() {
                self.written::<Clients>(&written);
            } else if self.find::<Transports>(name).is_some() {
                self.written::<Transports>(&written);
            } else {
                self.written::<StreamFilters>(&written);
            }
        }
    }

    /// Checks an extension with its configuration, where it is written. Its factory, when there is one, and its
    /// configuration, when that is good.
    fn written<K: ExtensionKind>(&mut self, used: &Written<'_>) -> Option<Checked<K>> {
        let found = match used.extension {
            ExtensionName::Plugin(name) => {
                let (plugin, extension) = split_extension(name);
                // A plugin that is not there, or has a mistake of its own, was told of already.
                let declared = self.plugins.get(plugin)?;
                let Some(factory) = declared.find::<K>(extension) else {
                    let kinds: Vec<&str> = declared.kinds().map(Kind::name).collect();
                    let kind = K::KIND.name().replace('_', " ");
                    self.problems.push(
                        Problem::new(
                            format!("the plugin `{plugin}` cannot be used as a {kind}"),
                            used.span,
                        )
                        .with_label(used.used, format!("this {kind} names it"))
                        .with_help(match kinds.is_empty() {
                            true => "it holds no extensions: its program is only kept running"
                                .to_owned(),
                            false => format!("it can be used as: {}", kinds.join(", ")),
                        }),
                    );
                    return None;
                };
                Ok(factory)
            }
            name => self.registry.find::<K>(name.as_str()),
        };
        let factory = match found {
            Ok(factory) => factory,
            Err(error) => {
                let name = used.extension.as_str();
                let mut names: Vec<&str> = error.known.iter().map(String::as_str).collect();
                if K::KIND == Kind::NetworkFilter {
                    names.extend(PARTS_OF_PROXY);
                }
                let kind = K::KIND.name().replace('_', " ");
                self.problems.push(
                    Problem::new(format!("unknown {kind} `{name}`"), used.span)
                        .with_label(used.used, format!("this {kind} names it"))
                        .with_help(known(name, "names", &names)),
                );
                return None;
            }
        };
        match factory.parse(used.config) {
            Ok(parsed) => {
                for cluster in parsed.clusters() {
                    self.callout(used, &cluster);
                }
                Some((factory, Some(parsed)))
            }
            Err(error) => {
                let error = error.or_at(used.config.span.or(used.span));
                self.problems.push(error);
                Some((factory, None))
            }
        }
    }

    /// The factory of an extension, when there is one.
    fn find<K: ExtensionKind>(&self, extension: &ExtensionName) -> Option<Arc<dyn Factory<K>>> {
        match extension {
            ExtensionName::Plugin(name) => {
                let (plugin, extension) = split_extension(name);
                self.plugins.get(plugin)?.find::<K>(extension)
            }
            name => self.registry.find::<K>(name.as_str()).ok(),
        }
    }

    /// A cluster that an extension wants to call.
    fn callout(&mut self, used: &Written<'_>, cluster: &str) {
        if !self.complete || self.resources.clusters.contains_key(cluster) {
            return;
        }
        let names: Vec<&str> = self.resources.clusters.keys().map(String::as_str).collect();
        let place = find(used.config, cluster).or(used.span);
        let help = self.problems.known(cluster, "clusters", &names);
        let message = format!("`{}` calls the unknown cluster `{cluster}`", used.id);
        self.problems
            .push(Problem::new(message, place).with_help(help));
    }

    /// What the routes of `table` say about `used`.
    fn routes(&mut self, table: &'c str, used: &'c Use, factory: &dyn Factory<StreamFilters>) {
        let Some(routes) = self.resources.route_tables.get(table) else {
            return;
        };
        if !self
            .routes
            .insert((table, &used.id, used.extension.as_str()))
        {
            return;
        }
        for host in &routes.virtual_hosts {
            let of_routes = host.routes.iter().map(|route| &route.filters);
            for filters in of_routes.chain([&host.filters]) {
                let Some(RouteFilter::Config(config)) = filters.get(&used.id) else {
                    continue;
                };
                if let Err(error) = factory.parse_route(config) {
                    self.problems.push(error.or_at(config.span));
                }
            }
        }
    }
}

/// An extension and its configuration as they stand at a use, or where they are declared.
struct Written<'w> {
    extension: &'w ExtensionName,
    id: &'w str,
    config: &'w Node,
    span: Option<Span>,
    /// The use, for what is declared elsewhere.
    used: Option<Span>,
}

impl<'w> Written<'w> {
    fn declared(declared: &'w Extension, used: Option<Span>) -> Self {
        Self {
            extension: &declared.extension,
            id: &declared.name,
            config: &declared.config,
            span: declared.span,
            used,
        }
    }
}

/// Where in `node` the text `text` stands.
fn find(node: &Node, text: &str) -> Option<Span> {
    match &node.kind {
        NodeKind::String(it) if it == text => node.span,
        NodeKind::List(items) => items.iter().find_map(|item| find(item, text)),
        NodeKind::Map(entries) => entries.iter().find_map(|(_, value)| find(value, text)),
        _ => None,
    }
}
