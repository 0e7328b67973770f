//! What a good file means.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use transom_api::{FailurePolicy, Node, Phase};
use transom_config::{
    Configuration, ExtensionName, HalfClose, HostAddress, HttpLimits, HttpTimeouts, ListenAddress,
    LocalReplyOptions, NetworkFilter, PathMatch, Pool, Resource, ResourceKind, ResourceName,
    Resources, ResponseOrder, RouteAction, RouteFilter, Sources, load_str, load_tree, validate,
};

use crate::registry::registry;

const SMALL: &str = r#"
listeners:
  - name: ingress
    address: 127.0.0.1:2046
    network_filters:
      - name: http
        config:
          stream_filters:
            - {name: header_match, config: {User: admin}}
          virtual_hosts:
            - {domains: ["*"], routes: [{match: {prefix: /}, cluster: backend}]}
clusters:
  - {name: backend, endpoints: ["127.0.0.1:8080"]}
"#;

fn load(text: &str) -> Configuration {
    load_str("test.yaml", text).unwrap()
}

#[test]
fn a_small_file_has_the_defaults() {
    let configuration = load(SMALL);
    let process = &configuration.process;
    assert_eq!(process.workers, None);
    assert_eq!(process.admin, None);
    assert_eq!(process.drain_timeout, Duration::from_secs(30));

    let listener = &configuration.resources.listeners["ingress"];
    assert_eq!(listener.address.to_string(), "127.0.0.1:2046");
    assert_eq!(listener.max_connections, None);
    assert!(listener.listener_filters.is_empty());
    let http = listener.http().unwrap();
    assert_eq!(http.id, "http");
    assert_eq!(http.route_table.value, "ingress/http");
    assert_eq!(http.response_order, ResponseOrder::Reverse);
    assert_eq!(
        http.local_reply,
        LocalReplyOptions {
            upstream_unavailable: 502,
            echo_request_headers: false
        }
    );
    assert_eq!(
        http.limits,
        HttpLimits {
            fields: 100,
            head: 60 * 1024,
            request_line: 8 * 1024,
            request_body: None
        }
    );
    assert_eq!(
        http.timeouts,
        HttpTimeouts {
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            write_idle: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            stream: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(300),
        }
    );
    assert_eq!(http.upgrades, ["websocket"]);
    assert_eq!(http.half_close, HalfClose::Serve);
    assert!(!http.allow_bare_lf);
    assert_eq!(http.watermark, 64 * 1024);
    let [filter] = http.stream_filters.as_slice() else {
        panic!("{:?}", http.stream_filters);
    };
    assert_eq!(
        filter.extension,
        ExtensionName::Builtin("header_match".to_owned())
    );
    assert_eq!(filter.id, "header_match");
    assert_eq!(filter.config, Node::map([("User", "admin".into())]));
    assert_eq!(filter.phase, None);
    assert_eq!(filter.on_failure, FailurePolicy::Closed);
    assert!(!filter.disabled);
    assert_eq!(filter.span.unwrap().line, 9);

    let table = &configuration.resources.route_tables["ingress/http"];
    let [host] = table.virtual_hosts.as_slice() else {
        panic!("{table:?}");
    };
    assert_eq!(host.name, "*");
    assert_eq!(host.domains, ["*"]);
    assert_eq!(
        host.routes[0].matcher,
        PathMatch::Prefix("/".to_owned()).into()
    );
    assert_eq!(
        host.routes[0].action,
        RouteAction::to("backend".to_owned().into())
    );
    assert_eq!(host.routes[0].timeout, None);

    let cluster = &configuration.resources.clusters["backend"];
    assert_eq!(cluster.load_balancing.extension.as_str(), "round_robin");
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    assert_eq!(cluster.host_set, "backend");
    assert_eq!(
        cluster.pool,
        Pool {
            idle_timeout: Duration::from_secs(60),
            max_idle: 128,
            max_requests_per_connection: None,
            max_connections_per_host: None,
            max_age: None,
        }
    );
    let hosts = &configuration.resources.host_sets["backend"].hosts;
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0].weight, 1);
    assert_eq!(hosts[0].address.to_string(), "127.0.0.1:8080");

    validate(&configuration, &registry()).unwrap();
}

#[test]
fn every_key_can_be_written() {
    let configuration = load(
        r#"
workers: 3
admin: {address: "unix:/run/admin.sock"}
drain_timeout: 0s
listeners:
  - name: l4
    address: unix:/run/l4.sock
    max_connections: 7
    listener_filters: [{name: inspect, id: first, config: {cluster: a}}, {name: inspect}]
    network_filters:
      - {name: gate, config: {cluster: a}}
      - {name: tcp_proxy, id: relay, config: {cluster: a, idle_timeout: 0s, connect_attempts: 1}}
  - name: l7
    address: "[::1]:80"
    network_filters:
      - name: http
        id: web
        config:
          stream_filters:
            - {name: header_match, phase: after_choose_host, on_failure: open, disabled: true}
          access_logs: [{name: ship}]
          route_table: shared
          response_order: config
          local_reply: {upstream_unavailable: 503, echo_request_headers: true}
          limits: {fields: 10, head: 1MiB, request_line: 64, request_body: 0}
          timeouts: {header: 1ms, body_idle: 2ms, write_idle: 3ms, idle: 4ms, stream: 0s, tunnel_idle: 5ms}
          upgrades: [WebSocket, tcp]
          half_close: abort
          allow_bare_lf: true
          watermark: 1KiB
route_tables:
  - name: shared
    virtual_hosts:
      - name: all
        domains: [A.org, "*.b.org:80"]
        filters: {header_match: {config: {a: b}}}
        routes:
          - {name: one, match: {path: /x}, cluster: a, timeout: 0s, filters: {header_match: {disabled: true}}}
clusters:
  - name: a
    load_balancing: round_robin
    connect_timeout: 1ms
    host_set: hosts
    pool: {idle_timeout: 0s, max_idle: 0, max_requests_per_connection: 1}
host_sets:
  - {name: hosts, endpoints: ["unix:/run/a.sock", {address: "[::1]:1", weight: 128}]}
"#,
    );
    assert_eq!(configuration.process.workers, NonZeroUsize::new(3));
    let admin = configuration.process.admin.as_ref().unwrap();
    assert_eq!(
        admin.address,
        ListenAddress::Unix(PathBuf::from("/run/admin.sock"))
    );
    assert_eq!(configuration.process.drain_timeout, Duration::ZERO);

    let l4 = &configuration.resources.listeners["l4"];
    assert_eq!(l4.max_connections, Some(7));
    let ids: Vec<_> = l4
        .listener_filters
        .iter()
        .map(|used| used.id.as_str())
        .collect();
    assert_eq!(ids, ["first", "inspect"]);
    assert!(l4.http().is_none());
    let [
        NetworkFilter::Extension(gate),
        NetworkFilter::TcpProxy(relay),
    ] = l4.network_filters.as_slice()
    else {
        panic!("{l4:?}");
    };
    assert_eq!(gate.id, "gate");
    assert_eq!(
        (relay.id.as_str(), relay.targets.names().collect::<Vec<_>>()),
        ("relay", vec!["a"])
    );
    assert_eq!(
        (relay.idle_timeout, relay.connect_attempts),
        (Duration::ZERO, 1)
    );

    let http = configuration.resources.listeners["l7"].http().unwrap();
    assert_eq!(http.id, "web");
    let filter = &http.stream_filters[0];
    assert_eq!(filter.phase, Some(Phase::AfterChooseHost));
    assert_eq!(filter.on_failure, FailurePolicy::Open);
    assert!(filter.disabled);
    assert!(filter.config.is_null());
    assert_eq!(http.route_table.value, "shared");
    assert_eq!(http.response_order, ResponseOrder::Config);
    assert_eq!(http.local_reply.upstream_unavailable, 503);
    assert_eq!(http.limits.request_body, Some(0));
    assert_eq!(http.limits.head, 1 << 20);
    assert_eq!(http.timeouts.write_idle, Duration::from_millis(3));
    assert_eq!(http.timeouts.tunnel_idle, Duration::from_millis(5));
    assert_eq!(http.upgrades, ["websocket", "tcp"]);
    assert_eq!(http.half_close, HalfClose::Abort);
    assert!(http.allow_bare_lf);

    let host = &configuration.resources.route_tables["shared"].virtual_hosts[0];
    assert_eq!(host.name, "all");
    assert_eq!(host.domains, ["a.org", "*.b.org:80"]);
    let config = RouteFilter::Config(Node::map([("a", "b".into())]));
    assert_eq!(host.filters["header_match"], config);
    let route = &host.routes[0];
    assert_eq!(route.name.as_deref(), Some("one"));
    assert_eq!(route.matcher, PathMatch::Exact("/x".to_owned()).into());
    assert_eq!(route.timeout, Some(Duration::ZERO));
    assert_eq!(route.filters["header_match"], RouteFilter::Disabled);

    let hosts = &configuration.resources.host_sets["hosts"].hosts;
    assert_eq!(
        hosts[0].address,
        HostAddress::Unix(PathBuf::from("/run/a.sock"))
    );
    assert_eq!(hosts[1].weight, 128);
}

#[test]
fn anchors_and_merge_keys_share_what_is_written_once() {
    let configuration = load(
        r#"
clusters:
  - &base {name: a, connect_timeout: 1s, endpoints: &hosts ["127.0.0.1:1"]}
  - {<<: *base, name: b}
  - {name: c, endpoints: *hosts}
"#,
    );
    let clusters = &configuration.resources.clusters;
    assert_eq!(clusters["b"].connect_timeout, Duration::from_secs(1));
    assert_eq!(clusters["c"].connect_timeout, Duration::from_secs(5));
    let sets = &configuration.resources.host_sets;
    assert_eq!(sets["a"].hosts, sets["b"].hosts);
    assert_eq!(sets["a"].hosts, sets["c"].hosts);
}

/// A byte order mark, line ends of Windows and an explicit document are no part of the meaning.
#[test]
fn the_way_of_writing_does_not_matter() {
    let plain = load(SMALL).resources;
    let written = format!("\u{feff}---\n{}...\n", SMALL.replace('\n', "\r\n"));
    assert_eq!(load(&written).resources, plain);
    let commented = SMALL.replace('\n', " # a comment\n\n");
    assert_eq!(load(&commented).resources, plain);
    assert!(Resources::difference(&plain, &load(&commented).resources).is_empty());
}

#[test]
fn a_tree_without_places_is_read_as_a_file_is() {
    let tree = Node::map([(
        "clusters",
        Node::list([Node::map([
            ("name", "a".into()),
            ("endpoints", Node::list(["127.0.0.1:1".into()])),
        ])]),
    )]);
    let configuration = load_tree(&tree, Sources::default()).unwrap();
    assert!(configuration.resources.clusters.contains_key("a"));
    let wrong = Node::map([("clusters", Node::list([Node::map([("nam", "a".into())])]))]);
    let report = load_tree(&wrong, Sources::default()).unwrap_err();
    let told = report.to_string();
    assert!(told.contains("unknown key `nam`"), "{told}");
    assert!(told.contains("did you mean `name`?"), "{told}");
}

fn name(kind: ResourceKind, name: &str) -> ResourceName {
    ResourceName {
        kind,
        name: name.to_owned(),
    }
}

#[test]
fn the_difference_of_two_files_is_what_changed() {
    let old = load(SMALL).resources;
    let changed = SMALL
        .replace("127.0.0.1:8080", "127.0.0.1:8081")
        .replace("clusters:", "clusters:\n  - {name: more, endpoints: []}");
    let new = load(&changed).resources;
    let changes = Resources::difference(&old, &new);
    assert_eq!(
        changes.set,
        [
            Resource::HostSet(Arc::clone(&new.host_sets["backend"])),
            Resource::HostSet(Arc::clone(&new.host_sets["more"])),
            Resource::Cluster(Arc::clone(&new.clusters["more"])),
        ]
    );
    assert_eq!(changes.remove, []);

    let applied = old.apply(&changes);
    assert_eq!(applied, new);
    // What did not change is the same object.
    assert!(Arc::ptr_eq(
        &applied.listeners["ingress"],
        &old.listeners["ingress"]
    ));
    assert!(Arc::ptr_eq(
        &applied.clusters["backend"],
        &old.clusters["backend"]
    ));

    let back = Resources::difference(&new, &Resources::default());
    assert_eq!(back.set, []);
    assert_eq!(
        back.remove,
        [
            name(ResourceKind::Listener, "ingress"),
            name(ResourceKind::RouteTable, "ingress/http"),
            name(ResourceKind::Cluster, "more"),
            name(ResourceKind::Cluster, "backend"),
            name(ResourceKind::HostSet, "more"),
            name(ResourceKind::HostSet, "backend"),
        ]
    );
    assert_eq!(new.apply(&back), Resources::default());
}

#[test]
fn the_configuration_of_a_filter_makes_a_difference() {
    let old = load(SMALL).resources;
    for (from, to) in [
        ("User: admin", "User: root"),
        ("header_match,", "header_match, phase: after_route,"),
        ("header_match,", "header_match, id: other,"),
        ("header_match,", "header_match, on_failure: open,"),
        ("header_match,", "header_match, disabled: true,"),
    ] {
        let changes = Resources::difference(&old, &load(&SMALL.replace(from, to)).resources);
        assert_eq!(changes.set.len(), 1, "{to}: {changes:?}");
    }
}

#[test]
fn a_dump_shows_defaults_and_hides_secrets() {
    let text = SMALL
        .replace(
            "User: admin",
            "User: admin, X-Api-Key: hunter2, url: \"redis://u:hunter2@h\"",
        )
        .replace(
            "cluster: backend}",
            "cluster: backend, filters: {header_match: {config: {Authorization: hunter2}}}}",
        );
    let dump = load(&text).dump();
    let shown = dump.to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    let http = &dump["listeners"][0]["network_filters"][0]["config"];
    assert_eq!(http["stream_filters"][0]["config"]["User"], "admin");
    assert_eq!(http["stream_filters"][0]["config"]["X-Api-Key"], "[hidden]");
    assert_eq!(
        http["stream_filters"][0]["config"]["url"],
        "redis://[hidden]@h"
    );
    assert_eq!(http["timeouts"]["stream"], "1m");
    assert_eq!(http["route_table"], "ingress/http");
    assert_eq!(dump["clusters"][0]["pool"]["max_idle"], 128);
    assert_eq!(
        dump["host_sets"][0]["endpoints"][0]["address"],
        "127.0.0.1:8080"
    );
    assert_eq!(dump["workers"], serde_json::Value::Null);
    let route = &dump["route_tables"][0]["virtual_hosts"][0]["routes"][0];
    assert_eq!(
        route["filters"]["header_match"]["config"]["Authorization"],
        "[hidden]"
    );
}
