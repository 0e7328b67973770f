//! What only plugins know of a configuration: which of their configurations they are to be asked about.

use std::collections::BTreeSet;

use transom_api::runtime::{Question, split_extension};
use transom_api::{Kind, Span};

use crate::{ExtensionName, Http, NetworkFilter, Resources, RouteFilter, Use};

/// A configuration that a plugin is to be asked about.
#[derive(Clone, Debug)]
pub struct OfPlugin {
    /// The plugin.
    pub plugin: String,
    /// What it is called where it is used: the plugin's name, and behind a slash the extension's.
    pub named: String,
    /// What is asked.
    pub question: Question,
    /// Where the use stands, or the route's configuration.
    pub span: Option<Span>,
}

/// The configurations of plugins in `resources`. What is declared once and used often stands here once.
#[must_use]
pub fn of_plugins(resources: &Resources) -> Vec<OfPlugin> {
    let mut found = Found {
        resources,
        declared: BTreeSet::new(),
        questions: Vec::new(),
    };
    let of_clusters = resources.clusters.values();
    for used in of_clusters
        .flat_map(|cluster| &cluster.tls)
        .flat_map(|tls| &tls.providers)
    {
        found.one(Kind::CertificateProvider, used);
    }
    for listener in resources.listeners.values() {
        for used in &listener.access_logs {
            found.one(Kind::AccessLog, used);
        }
        for chain in listener.chains() {
            for used in chain.tls.iter().flat_map(|tls| &tls.providers) {
                found.one(Kind::CertificateProvider, used);
            }
            for filter in chain.network_filters {
                match filter {
                    NetworkFilter::Http(http) => found.http(http),
                    NetworkFilter::TcpProxy(proxy) => found.logs(&proxy.access_logs),
                    NetworkFilter::UdpProxy(proxy) => found.logs(&proxy.access_logs),
                    NetworkFilter::Extension(used) => found.one(Kind::NetworkFilter, used),
                }
            }
        }
    }
    found.questions
}

struct Found<'r> {
    resources: &'r Resources,
    declared: BTreeSet<(&'r str, Kind)>,
    questions: Vec<OfPlugin>,
}

impl<'r> Found<'r> {
    fn http(&mut self, http: &'r Http) {
        self.logs(&http.access_logs);
        for used in &http.stream_filters {
            self.one(Kind::StreamFilter, used);
            let Some(table) = self.resources.route_tables.get(&http.route_table.value) else {
                continue;
            };
            for host in &table.virtual_hosts {
                let of_routes = host.routes.iter().map(|route| &route.filters);
                for filters in of_routes.chain([&host.filters]) {
                    if let Some(RouteFilter::Config(config)) = filters.get(&used.id) {
                        let span = config.span.or(used.span);
                        self.ask(Kind::StreamFilter, used, &used.id, Some(config), span);
                    }
                }
            }
        }
    }

    fn logs(&mut self, logs: &'r [Use]) {
        for used in logs {
            self.one(Kind::AccessLog, used);
        }
    }

    fn one(&mut self, kind: Kind, used: &'r Use) {
        if let ExtensionName::Resource(name) = &used.extension
            && !self.declared.insert((name, kind))
        {
            return;
        }
        let (name, span) = match &used.extension {
            ExtensionName::Resource(name) => {
                let declared = self.resources.extensions.get(name);
                (name, declared.and_then(|declared| declared.span))
            }
            _ => (&used.id, used.span),
        };
        self.ask(kind, used, name, None, span);
    }

    fn ask(
        &mut self,
        kind: Kind,
        used: &Use,
        name: &str,
        route: Option<&transom_api::Node>,
        span: Option<Span>,
    ) {
        let Some((ExtensionName::Plugin(named), config)) = self.resources.implementation(used)
        else {
            return;
        };
        let (plugin, extension) = split_extension(named);
        self.questions.push(OfPlugin {
            plugin: plugin.to_owned(),
            named: named.clone(),
            question: Question {
                kind,
                extension: extension.to_owned(),
                name: name.to_owned(),
                config: route.unwrap_or(config).clone(),
                is_route: route.is_some(),
            },
            span,
        });
    }
}
