//! The file's shapes to resources: names resolve, nesting is undone, and what belongs together is checked together.

mod actions;
mod chains;
mod clusters;
mod conditions;
mod domain;
mod extensions;
mod health;
mod hop;
mod listeners;
mod matches;
mod network;
mod plugins;
mod routes;
mod sockets;
mod tls;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::path::Path;

use transom_api::{Node, NodeKind, Span};

pub(crate) use chains::{PARTS_OF_PROXY, without_end};

use crate::file;
use crate::problems::Problems;
use crate::report::Problem;
use crate::{Admin, ListenAddress, Located, Process, ProcessLimits, Resources};

/// Makes resources of a file. `root` is the tree that the file was decoded from; relative paths begin at `folder`. The
/// result is only good when no problem was added.
pub(crate) fn lower(
    root: &Node,
    file: file::Configuration,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> (Process, Resources) {
    let mut lowering = Lowering {
        clusters: names(root, "clusters", "name"),
        route_tables: names(root, "route_tables", "name"),
        host_sets: names(root, "host_sets", "name"),
        extensions: names(root, "extensions", "id"),
        plugins: keys(root, "plugins"),
        folders: keys(root, crate::folders::KEY),
        declared: HashMap::new(),
        chains: BTreeMap::new(),
        route_filters: Vec::new(),
        addresses: HashMap::new(),
        resources: Resources {
            folder: folder.map(Path::to_owned),
            limits: ProcessLimits {
                max_connections: file.limits.max_connections.map(|limit| limit.0),
            },
            ..Resources::default()
        },
        problems,
    };
    let process = Process {
        workers: file
            .workers
            .and_then(|workers| NonZeroUsize::new(usize::try_from(workers.0).ok()?)),
        admin: file.admin.map(|admin| lowering.admin(admin)),
        drain_timeout: file.drain_timeout.0,
    };
    lowering.host_sets(file.host_sets);
    lowering.clusters(file.clusters);
    lowering.plugins(file.plugins);
    lowering.extensions(file.extensions);
    lowering.named_route_tables(file.route_tables);
    lowering.listeners(file.listeners);
    lowering.check_route_filters();
    (process, lowering.resources)
}

/// What is known while resources are made.
struct Lowering<'a> {
    /// Names that may be referred to. They come from the tree, so that a cluster with a mistake of its own is not
    /// unknown besides. Sorted.
    clusters: Vec<&'a str>,
    route_tables: Vec<&'a str>,
    host_sets: Vec<&'a str>,
    extensions: Vec<&'a str>,
    plugins: Vec<&'a str>,
    /// Folders of plugins.
    folders: Vec<&'a str>,
    /// Where each of `extensions` is declared, for messages.
    declared: HashMap<String, Option<Span>>,
    /// The stream filters of the chains that use a route table, by its name.
    chains: BTreeMap<String, BTreeSet<String>>,
    /// What routes say about filters: the table, and the filter's name.
    route_filters: Vec<(String, Located<String>)>,
    /// Addresses that are listened on, and by whom.
    addresses: HashMap<ListenAddress, (String, Option<Span>)>,
    resources: Resources,
    problems: &'a mut Problems,
}

impl Lowering<'_> {
    fn admin(&mut self, admin: file::Admin) -> Admin {
        let address = admin.address;
        if !address.is_local() {
            self.problems.push(
                Problem::new(
                    format!("the admin interface must not listen on {address}"),
                    address.span,
                )
                .with_help(
                    "whoever reaches it can see and change everything: write an address of the loopback, \
                     127.0.0.1:34901, or a Unix socket, unix:/path",
                ),
            );
        }
        self.address("the admin interface".to_owned(), &address);
        Admin {
            address: address.value,
            mosn_compatible: admin.mosn_compatible,
        }
    }

    /// Refuses an address that is listened on already. Port 0 is another port each time.
    fn address(&mut self, who: String, address: &Located<ListenAddress>) {
        if matches!(&address.value, ListenAddress::Tcp(address) | ListenAddress::Udp(address) if address.port() == 0)
        {
            return;
        }
        if let Some((first, span)) = self.addresses.get(&address.value) {
            let message = format!("{first} and {who} have the same address {address}");
            self.problems.twice(message, *span, address.span);
            return;
        }
        self.addresses
            .insert(address.value.clone(), (who, address.span));
    }

    /// A filter that a route names must be in a chain that uses the route's table. A table that no chain uses yet is
    /// let be.
    fn check_route_filters(&mut self) {
        for (table, name) in std::mem::take(&mut self.route_filters) {
            let Some(chain) = self.chains.get(&table) else {
                continue;
            };
            if !chain.contains(&name.value) {
                let ids: Vec<&str> = chain.iter().map(String::as_str).collect();
                let help = self.problems.known(&name.value, "names", &ids);
                let message = format!("no stream filter here is named `{name}`");
                self.problems
                    .push(Problem::new(message, name.span).with_help(help));
            }
        }
    }
}

/// Names that must not be given twice.
#[derive(Default)]
struct Unique {
    seen: HashMap<String, Option<Span>>,
}

impl Unique {
    /// True for a new name; a known one is a problem.
    fn check(
        &mut self,
        what: &str,
        name: &str,
        span: Option<Span>,
        problems: &mut Problems,
    ) -> bool {
        if let Some(first) = self.seen.get(name) {
            problems.twice(format!("two {what} are named `{name}`"), *first, span);
            return false;
        }
        self.seen.insert(name.to_owned(), span);
        true
    }
}

/// A name that must be one of `names`, which are sorted.
fn refer(what: &str, name: &Located<String>, names: &[&str], problems: &mut Problems) {
    if names.binary_search(&name.as_str()).is_err() {
        let help = problems.known(&name.value, &format!("{what}s"), names);
        let message = format!("unknown {what} `{name}`");
        problems.push(Problem::new(message, name.span).with_help(help));
    }
}

/// The names in the map under `key`.
fn keys<'n>(root: &'n Node, key: &str) -> Vec<&'n str> {
    let Some(NodeKind::Map(entries)) = root.entry(key).map(|node| &node.kind) else {
        return Vec::new();
    };
    let mut names: Vec<&str> = entries.iter().map(|(key, _)| key.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// The names in the list under `key`: what its items have under `called`.
fn names<'n>(root: &'n Node, key: &str, called: &str) -> Vec<&'n str> {
    let Some(NodeKind::List(items)) = root.entry(key).map(|node| &node.kind) else {
        return Vec::new();
    };
    let name = |item: &'n Node| item.entry(called).and_then(|name| name.as_str().ok());
    let mut names: Vec<&str> = items.iter().filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    names
}
