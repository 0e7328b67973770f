//! Plugins: declared once, started before their uses, kept as long as their declaration stays.

use transom_api::Node;
use transom_config::ExtensionName;
use transom_e2e::{Plane, Upstream};

fn file(upstream: &Upstream, plugins: &str, filters: &str) -> String {
    format!(
        "plugins:\n  {plugins}\nlisteners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        \
         config:\n          stream_filters: [{filters}]\n          virtual_hosts:\n            - {{domains: [\"*\"], routes: \
         [{{match: {{prefix: /}}, cluster: up}}]}}\nclusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
        upstream.address()
    )
}

fn part(plane: &Plane) -> String {
    plane.get("/").header("x-part").unwrap_or("none").to_owned()
}

#[test]
fn a_plugin_stays_as_long_as_its_declaration() {
    let upstream = Upstream::ok("up");
    let use_of = |version: &str| format!("{{plugin: p, config: {{version: \"{version}\"}}}}");
    let first = "p: {runtime: told, version: \"1\"}";
    let plane = Plane::start(1, &file(&upstream, first, &use_of("a")));
    assert_eq!(part(&plane), "a/1");
    assert_eq!(plane.lab.count("plugin 1.start"), 1);
    // Neither the plugin nor its unchanged use is made anew.
    plane.apply(&file(&upstream, first, &use_of("a"))).unwrap();
    assert_eq!(part(&plane), "a/2");
    // A changed use is, and has the same plugin.
    plane.apply(&file(&upstream, first, &use_of("b"))).unwrap();
    assert_eq!(part(&plane), "b/1");
    assert_eq!(plane.lab.count("plugin 1.start"), 1);
    // Another declaration: another plugin, and its uses are made anew.
    let second = "p: {runtime: told, version: \"2\"}";
    plane.apply(&file(&upstream, second, &use_of("b"))).unwrap();
    assert_eq!(part(&plane), "b/1");
    assert_eq!(plane.lab.count("plugin 2.start"), 1);
    plane.lab.wait_for("plugin 1.end");
    assert_eq!(plane.lab.count("plugin 2.end"), 0);
}

#[test]
fn a_plugin_is_started_though_nothing_uses_it_and_ends_with_its_declaration() {
    let upstream = Upstream::ok("up");
    let plane = Plane::start(
        1,
        &file(&upstream, "p: {runtime: told, version: \"1\"}", ""),
    );
    assert_eq!(plane.lab.count("plugin 1.start"), 1);
    plane
        .apply(&file(
            &upstream,
            "q: {runtime: told, version: \"2\"}",
            "{plugin: q, config: {version: x}}",
        ))
        .unwrap();
    plane.lab.wait_for("plugin 1.end");
    assert_eq!(part(&plane), "x/1");
}

#[test]
fn a_plugin_that_does_not_start_leaves_what_was_active() {
    let upstream = Upstream::ok("up");
    let good = "p: {runtime: told, version: \"1\"}";
    let used = "{plugin: p, config: {version: x}}";
    let plane = Plane::start(1, &file(&upstream, good, used));
    let bad = "p: {runtime: told, version: \"2\", fails: no such program}";
    let refused = plane.apply(&file(&upstream, bad, used)).unwrap_err();
    assert!(
        refused.contains("the plugin `p` could not be started: no such program"),
        "{refused}"
    );
    assert_eq!(part(&plane), "x/1");
    assert_eq!(plane.lab.count("plugin 1.end"), 0);
}

#[test]
fn a_plugin_has_extensions_and_a_generation_may_be_another_plugins() {
    let upstream = Upstream::ok("up");
    let plugins = "p: {runtime: told, version: \"1\"}\n  next: {runtime: told, version: \"2\"}";
    let used = "{plugin: p/old, config: {version: \"1\"}}";
    let plane = Plane::start(1, &file(&upstream, plugins, used));
    assert_eq!(part(&plane), "old1/1");
    // The use is called by the extension's name.
    let next = ExtensionName::Plugin("next/new".to_owned());
    let config = Node::map([("version", "2".into())]);
    let start = plane
        .proxy
        .start_generation("in", "old", next, &config, 100);
    plane.wait(start).unwrap();
    assert_eq!(part(&plane), "new2/1");
    plane
        .wait(plane.proxy.promote_generation("in", "old"))
        .unwrap();
    assert_eq!(part(&plane), "new2/2");
}
