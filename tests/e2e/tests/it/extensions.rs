//! Extensions that are declared once and used by name: shared by their users, changed under them.

use transom_api::Node;
use transom_config::{Changes, Extension, ExtensionName, Resource, check_str};
use transom_e2e::{Plane, Setup, Upstream};

/// Two listeners whose chains use the extension `shared`.
fn two_listeners(upstream: &Upstream, extension: &str) -> String {
    let listener = |name: &str| {
        format!(
            "  - name: {name}\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          \
             stream_filters: [{{extension: shared, id: mine}}]\n          virtual_hosts:\n            - {{domains: [\"*\"], \
             routes: [{{match: {{prefix: /}}, cluster: up}}]}}\n"
        )
    };
    format!(
        "extensions:\n  - {extension}\nlisteners:\n{}{}clusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
        listener("a"),
        listener("b"),
        upstream.address()
    )
}

fn part(version: &str) -> String {
    format!("{{id: shared, name: part, config: {{version: \"{version}\"}}}}")
}

fn ask(plane: &Plane, listener: &str) -> String {
    let mut client = transom_e2e::Client::connect(plane.address(listener));
    let answer = client.get("/");
    assert_eq!(answer.status(), 200);
    answer.header("x-part").unwrap_or("none").to_owned()
}

#[test]
fn users_share_one_prepared_configuration() {
    let upstream = Upstream::ok("up");
    let plane = Plane::start(1, &two_listeners(&upstream, &part("1")));
    assert_eq!(ask(&plane, "a"), "1/1");
    // Each use has a worker's part of its own, all from one preparation.
    assert_eq!(ask(&plane, "b"), "1/1");
    assert_eq!(plane.lab.count("shared.prepare"), 1);
    // Unchanged, it is neither prepared nor built again.
    plane.apply(&two_listeners(&upstream, &part("1"))).unwrap();
    assert_eq!(ask(&plane, "a"), "1/2");
    assert_eq!(plane.lab.count("shared.prepare"), 1);
    plane.apply(&two_listeners(&upstream, &part("2"))).unwrap();
    assert_eq!(ask(&plane, "a"), "2/1");
    assert_eq!(ask(&plane, "b"), "2/1");
    assert_eq!(plane.lab.count("shared.prepare"), 2);
}

#[test]
fn a_source_changes_an_extension_alone() {
    let upstream = Upstream::ok("up");
    let plane = Plane::start(2, &two_listeners(&upstream, &part("1")));
    let mut client = transom_e2e::Client::connect(plane.address("a"));
    assert_eq!(client.get("/").header("x-part"), Some("1/1"));
    let set = |key: &str, version: &str| Changes {
        set: vec![Resource::Extension(
            Extension {
                name: "shared".to_owned(),
                extension: ExtensionName::Builtin("part".to_owned()),
                config: Node::map([(key, version.into())]),
                span: None,
            }
            .into(),
        )],
        remove: Vec::new(),
    };
    plane
        .wait(plane.proxy.change_resources(&set("version", "2")))
        .unwrap();
    // The connection stays; its next stream has the new configuration.
    assert_eq!(client.get("/").header("x-part"), Some("2/1"));
    assert_eq!(ask(&plane, "b").split('/').next(), Some("2"));
    // What is refused leaves the one before.
    let refused = plane
        .wait(plane.proxy.change_resources(&set("versoin", "3")))
        .unwrap_err();
    assert!(refused.message.contains("versoin"), "{}", refused.message);
    assert_eq!(client.get("/").header("x-part"), Some("2/2"));
}

#[test]
fn a_promoted_generation_stands_for_the_declaration() {
    let upstream = Upstream::ok("up");
    let plane = Plane::start(1, &two_listeners(&upstream, &part("1")));
    let newer = Node::map([("version", "9".into())]);
    plane
        .wait(
            plane
                .proxy
                .start_generation("a", "mine", "part", &newer, 100),
        )
        .unwrap();
    plane
        .wait(plane.proxy.promote_generation("a", "mine"))
        .unwrap();
    plane.apply(&two_listeners(&upstream, &part("1"))).unwrap();
    assert_eq!(ask(&plane, "a"), "9/1");
    assert_eq!(ask(&plane, "b"), "1/1");
    plane.apply(&two_listeners(&upstream, &part("2"))).unwrap();
    assert_eq!(ask(&plane, "a"), "2/1");
}

#[test]
fn a_use_of_another_kind_is_refused_where_the_extension_is_declared() {
    let upstream = Upstream::ok("up");
    let plane = Plane::start(1, &two_listeners(&upstream, &part("1")));
    let wrong = two_listeners(&upstream, "{id: shared, name: nothing_known}");
    let refused = plane.apply(&wrong).unwrap_err();
    assert!(
        refused.contains("unknown stream filter `nothing_known`"),
        "{refused}"
    );
    assert!(check_str("wrong.yaml", &wrong, &transom_api::Registry::new()).is_err());
    assert_eq!(ask(&plane, "a"), "1/1");
}

#[test]
fn a_selector_may_be_declared_and_changes_under_its_cluster() {
    let (one, two) = (Upstream::ok("one"), Upstream::ok("two"));
    let yaml = |selector: &str| {
        Setup::to(&one)
            .no_clusters()
            .cluster_of(&format!(
                "{{name: up, load_balancing: {{extension: spread}}, endpoints: [\"{}\", \"{}\"]}}",
                one.address(),
                two.address()
            ))
            .yaml()
            + &format!("extensions: [{{id: spread, {selector}}}]\n")
    };
    let plane = Plane::start(1, &yaml("name: round_robin"));
    let mut client = plane.client();
    let answers: Vec<String> = (0..4).map(|_| client.get("/").text()).collect();
    assert_eq!(answers.iter().filter(|it| *it == "one").count(), 2);
    let made = one.connections();
    plane
        .apply(&yaml("name: least_request, config: {choices: 3}"))
        .unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(one.connections(), made, "the pools stay");
    let error = plane
        .apply(&yaml("name: least_request, config: {choices: 1}"))
        .unwrap_err();
    assert!(error.contains("choices"), "{error}");
}
