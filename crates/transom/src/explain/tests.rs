use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::*;

const FILE: &str = r#"
listeners:
  - name: web
    address: 127.0.0.1:2046
    network_filters:
      - name: http
        config:
          stream_filters:
            - {name: header_match, id: guard, config: {User: admin}}
            - {name: noop}
          virtual_hosts:
            - domains: ["*"]
              routes:
                - {match: {path: /open}, cluster: back, timeout: 1500ms, filters: {guard: {disabled: true}}}
                - {name: api, match: {prefix: /api/}, cluster: back}
clusters:
  - {name: back, endpoints: ["127.0.0.1:8080"]}
"#;

/// A file that is gone when the test ends.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("transom-explain-{}-{number}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn ask(url: &str, headers: &[&str], output: Output) -> Answer {
    ask_of(FILE, url, headers, output)
}

fn ask_of(text: &str, url: &str, headers: &[&str], output: Output) -> Answer {
    let file = File::new(text);
    let headers: Vec<String> = headers.iter().map(|it| (*it).to_owned()).collect();
    answer(&Question {
        file: &file.0,
        method: "GET",
        url,
        headers: &headers,
        listener: None,
        plugins: false,
        choice: &crate::choose::Choice::default(),
        output,
    })
}

#[test]
fn a_route_is_explained_as_text() {
    let answer = ask(
        "http://127.0.0.1:2046/open?x#part",
        &["User: admin"],
        Output::Text,
    );
    assert_eq!(answer.stderr, "");
    assert_eq!(answer.code, 0);
    assert_eq!(
        answer.stdout,
        "\
GET http://127.0.0.1:2046/open?x#part
  host 127.0.0.1:2046, path /open?x

listener
  > web  it listens on 127.0.0.1:2046

virtual host, of route table web/http
  > *  matches `*`

route
  > #1   the path is `/open`
    api  the path does not begin with `/api/`; a route before it is taken

filters, as the request passes them
  before_route
    guard  disabled by the route, is a header_match
    noop   runs

filters, as the response passes them
  noop

cluster back, by round_robin, connected within 5s
  127.0.0.1:8080  weight 1

timeout of the stream
  1500ms

Filters were not run: what one of them answers or changes is not known here.
Only filters look at: User.
"
    );
}

#[test]
fn the_same_as_json() {
    let answer = ask("/open", &["host: shop.test"], Output::Json);
    assert_eq!(answer.code, 0);
    let value: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(value["request"]["authority"], "shop.test");
    assert_eq!(value["routed"], true);
    assert_eq!(
        value["listeners"],
        json!([{"name": "web", "taken": true, "why": "it is the only one"}])
    );
    assert_eq!(value["http"]["timeout_ms"], 1500);
    assert_eq!(
        value["http"]["filters"][0],
        json!({
            "name": "guard", "extension": "header_match", "phase": "before_route",
            "on_failure": "closed", "part": "disabled", "by": "route", "when": null, "sample": null,
        })
    );
    assert_eq!(
        value["http"]["clusters"][0],
        json!({
            "name": "back", "load_balancing": "round_robin", "connect_timeout_ms": 5000, "weight": 1,
            "hosts": [{"address": "127.0.0.1:8080", "weight": 1}],
        })
    );
}

#[test]
fn what_a_route_does_instead_of_sending_on_is_shown() {
    let file = FILE.replace(
        "- {name: api, match: {prefix: /api/}, cluster: back}",
        "- {match: {prefix: /api/}, redirect: {prefix: /v2/}}
                - {match: {path: /up}, direct_response: {status: 204}}
                - match: {prefix: /both/}
                  weighted_clusters: [{cluster: back, weight: 3}, {cluster: next, weight: 1}]
                  rewrite: {prefix: /, host: inner.test}
                  retry: {on: [connect_failure, 503], attempts: 2}",
    );
    let file = file + "  - {name: next, endpoints: [\"127.0.0.1:8081\"]}\n";
    let shown = |path: &str| {
        let answer = ask_of(&file, path, &["Host: a.test"], Output::Text);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer.stdout
    };
    assert!(
        shown("/api/x?q").contains("\nredirect\n  the answer is 301, to http://a.test/v2/x?q\n")
    );
    assert!(shown("/up").contains("\ndirect response\n  the answer is 204\n"));
    let both = shown("/b/../both/x");
    for part in [
        "\npath, as filters and routes see it\n  /both/x\n",
        "\nrewrite\n  the path becomes /x\n  the host becomes inner.test\n",
        "\nretry\n  up to 2 more after connect_failure, 503\n",
        "\none of these clusters, by chance\n  back  weight 3\n  next  weight 1\n",
        "\ncluster next, by round_robin",
    ] {
        assert!(both.contains(part), "{part} in {both}");
    }
}

#[test]
fn a_request_without_a_route_ends_with_1() {
    let answer = ask("http://127.0.0.1:2046", &[], Output::Text);
    assert_eq!(answer.code, 1);
    assert!(answer.stdout.contains("\nno route\n  the answer is 404\n"));
    assert!(!answer.stdout.contains("cluster"));
    let answer = ask("http://127.0.0.1:2046?q", &[], Output::Json);
    assert_eq!(answer.code, 1);
    let value: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(value["request"]["path"], "/?q");
    assert_eq!(value["routed"], false);
    assert_eq!(value["http"]["clusters"], Value::Null);
}

#[test]
fn connect_is_explained_by_its_authority() {
    const TUNNELS: &str = r#"
listeners:
  - name: web
    address: 127.0.0.1:2046
    network_filters:
      - name: http
        config:
          virtual_hosts:
            - domains: ["db.test:5432"]
              routes:
                - {name: all, match: {prefix: /}, cluster: back}
                - {name: tunnel, match: {connect: true}, cluster: back}
clusters:
  - {name: back, endpoints: ["127.0.0.1:8080"]}
"#;
    let file = File::new(TUNNELS);
    let ask = |method: &str, url: &str| {
        answer(&Question {
            file: &file.0,
            method,
            url,
            headers: &[],
            listener: None,
            plugins: false,
            choice: &crate::choose::Choice::default(),
            output: Output::Text,
        })
    };
    let told = ask("CONNECT", "db.test:5432");
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(
        told.stdout.contains("the method is CONNECT"),
        "{}",
        told.stdout
    );
    assert!(
        told.stdout
            .contains("only routes with `connect: true` take CONNECT"),
        "{}",
        told.stdout
    );
    for target in ["db.test", "/a", "db.test:0", "db.test:x"] {
        assert_eq!(ask("CONNECT", target).code, 2, "{target}");
    }
}

#[test]
fn what_is_no_request_ends_with_2() {
    for (url, headers, expected) in [
        ("shop.test/x", &[][..], "\"shop.test/x\" is no URL"),
        ("ftp://shop.test/", &[], "\"ftp://shop.test/\" is no URL"),
        ("http:///x", &[], "\"http:///x\" names no host"),
        ("http://a:b/x", &[], "\"b\" is no port"),
        ("http://a:99999/", &[], "\"99999\" is no port"),
        (
            "http://me@a/",
            &[],
            "\"http://me@a/\" has a user name before its host",
        ),
        ("http://a/x y", &[], "\"/x y\" is no path"),
        ("http://a<b/", &[], "\"a<b\" is no authority"),
        ("/x", &["User"], "\"User\" is no header"),
        ("/x", &["a b: c"], "\"a b: c\" is no header"),
        ("/x", &["Host: a", "host: b"], "`Host` is given twice"),
    ] {
        let answer = ask(url, headers, Output::Text);
        assert_eq!(answer.code, 2, "{url}");
        assert_eq!(answer.stdout, "");
        let message = format!("transom: {expected}\n  help: ");
        assert!(answer.stderr.starts_with(&message), "{}", answer.stderr);
    }
}

#[test]
fn ports_and_brackets_lead_to_the_listener() {
    // The only listener is taken all the same; the reason shows what was understood.
    let elsewhere = "the URL leads elsewhere, but it is the only one: it listens on 127.0.0.1:2046";
    for (url, why) in [
        ("http://127.0.0.1:2046/", "it listens on 127.0.0.1:2046"),
        ("HTTP://localhost:2046/", "it listens on 127.0.0.1:2046"),
        ("http://[::1]:2046/", elsewhere),
        ("http://[::1]/", elsewhere),
        ("https://a/", elsewhere),
    ] {
        let answer = ask(url, &[], Output::Json);
        let value: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(value["listeners"][0]["why"], why, "{url}");
    }
}

#[test]
fn a_bad_configuration_is_shown_as_check_shows_it() {
    let file = File::new(&FILE.replace("cluster: back,", "cluster: bakc,"));
    let mut question = Question {
        file: &file.0,
        method: "GET",
        url: "/",
        headers: &[],
        listener: None,
        plugins: false,
        choice: &crate::choose::Choice::default(),
        output: Output::Text,
    };
    let text = answer(&question);
    assert_eq!((text.code, text.stdout.as_str()), (2, ""));
    assert!(
        text.stderr.contains("did you mean `back`?"),
        "{}",
        text.stderr
    );
    question.output = Output::Json;
    let json = answer(&question);
    assert_eq!(json.code, 2);
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value["problems"][0]["message"], "unknown cluster `bakc`");
}

#[test]
fn a_bad_method_and_an_unknown_listener_end_with_2() {
    let file = File::new(FILE);
    let mut question = Question {
        file: &file.0,
        method: "G T",
        url: "/",
        headers: &[],
        listener: None,
        plugins: false,
        choice: &crate::choose::Choice::default(),
        output: Output::Json,
    };
    let refused = answer(&question);
    assert_eq!(refused.code, 2);
    let value: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(value["error"], "\"G T\" is no method");
    question.method = "GET";
    question.listener = Some("web");
    assert_eq!(answer(&question).code, 1);
    question.listener = Some("api");
    assert_eq!(answer(&question).code, 2);
}

#[test]
fn conditions_of_uses_are_judged() {
    let text = FILE.replace(
        "{name: noop}",
        "{name: noop, when: {prefix: /api/}, sample: 12.5}\n            - {name: noop, id: near, on_failure: open, when: {source_networks: [10.0.0.0/8]}}",
    );
    let told = ask_of(&text, "http://127.0.0.1:2046/api/a", &[], Output::Text).stdout;
    for line in [
        "  noop   runs, as its `when` holds, for 12.5 % of such requests\n",
        "  near   runs, if its `when` holds, which asks for more than the request, is a noop, goes on without it when it fails\n",
        "  near, noop, guard\n",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let other = ask_of(&text, "http://127.0.0.1:2046/open", &[], Output::Json).stdout;
    let json: Value = serde_json::from_str(&other).unwrap();
    let filters = &json["http"]["filters"];
    assert_eq!(filters[1]["part"], "left_out");
    assert_eq!(filters[1]["when"], "does_not_hold");
    assert_eq!(filters[1]["sample"], 12.5);
    assert_eq!(filters[2]["when"], "unknown");
    assert_eq!(json["http"]["response_order"], json!(["near"]));
}

#[test]
fn a_plugin_that_does_not_start_is_told_of_and_explained_nevertheless() {
    let text = format!(
        "plugins:\n  gone: {{runtime: process, command: [/nowhere/plugin]}}\n{}",
        FILE.replace("{name: noop}", "{plugin: gone}")
    );
    let file = File::new(&text);
    let mut question = Question {
        file: &file.0,
        method: "GET",
        url: "http://127.0.0.1:2046/api/a",
        headers: &[],
        listener: None,
        plugins: true,
        choice: &crate::choose::Choice::default(),
        output: Output::Text,
    };
    let told = answer(&question);
    assert_eq!(told.code, 0);
    assert!(
        told.stderr
            .starts_with("note: the plugin `gone` was not asked: "),
        "{}",
        told.stderr
    );
    assert!(told.stdout.contains("  gone   runs\n"), "{}", told.stdout);
    question.plugins = false;
    assert_eq!(answer(&question).stderr, "");
}
