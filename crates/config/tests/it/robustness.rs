//! No text makes the loader panic, and what it makes of a text does not depend on how the text is written.

use proptest::prelude::*;
use transom_config::{check_str, load_str};

use crate::registry::registry;

const GOOD: &str = r#"
workers: 2
admin: {address: "unix:/run/admin.sock"}
drain_timeout: 5s
limits: {max_connections: 20000}
listeners:
  - name: ingress
    address: 127.0.0.1:2046
    max_connections: 1000
    accept_rate: {per_second: 500, burst: 50}
    balance: exact
    transparent: true
    listener_filters: [{name: inspect, config: {cluster: backend}}]
    network_filters:
      - {name: gate, config: &gate {cluster: backend, status: 401}}
      - name: http
        id: web
        config:
          stream_filters:
            - {name: header_match, config: {User: admin}, phase: after_route, on_failure: open}
            - {name: authorize, disabled: true, config: *gate}
          access_logs: [{name: ship, config: {<<: *gate, status: 402}}]
          limits: {head: 32KiB, request_body: 1MiB}
          virtual_hosts:
            - domains: ["a.org", '*']
              filters: {header_match: {disabled: true}}
              routes:
                - {match: {path: /x}, cluster: backend, timeout: 0s, filters: {header_match: {config: {a: b}}}}
                - match: {prefix: "/"}
                  cluster: backend
clusters:
  - {name: backend, host_set: hosts, pool: {max_idle: 0}}
host_sets:
  - name: hosts
    endpoints: ["127.0.0.1:8080", {address: "[::1]:80", weight: 3}, "unix:/run/app.sock"]
"#;

#[test]
fn the_text_that_is_mutated_is_good() {
    check_str("good.yaml", GOOD, &registry()).unwrap();
}

/// Pieces that YAML gives a meaning to, and keys and values of the format.
fn piece() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "\n",
        "  ",
        "    ",
        "- ",
        ": ",
        ", ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "&a ",
        "*a",
        "|",
        ">",
        "#",
        "?",
        "!!str ",
        "!x ",
        "<<: ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "\t",
        "\u{feff}",
        "\0",
        "\r\n",
        "é",
        "😀",
        "~",
        "null",
        "0x",
        "1e999",
        ".nan",
        "listeners",
        "clusters",
        "name",
        "address",
        "network_filters",
        "http",
        "tcp_proxy",
        "config",
        "virtual_hosts",
        "domains",
        "routes",
        "match",
        "prefix",
        "cluster",
        "endpoints",
        "127.0.0.1:80",
        "5s",
        "64KiB",
        "-1",
        "true",
    ];
    prop_oneof![
        8 => proptest::sample::select(PIECES).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => any::<char>().prop_map(String::from),
    ]
}

fn look_at(text: &str) {
    match check_str("any.yaml", text, &registry()) {
        Ok(configuration) => drop(configuration.dump()),
        Err(report) => {
            assert!(!report.problems().is_empty());
            let told = report.to_string();
            assert!(!told.contains("Failed to read"), "{told}");
            drop((report.render(true), report.to_json()));
            for problem in report.problems() {
                assert!(!problem.message.is_empty() && !problem.message.ends_with('.'));
                if let Some(span) = problem.span {
                    let (start, end) = (span.offset as usize, (span.offset + span.len) as usize);
                    assert!(
                        text.get(start..end).is_some(),
                        "{problem:?} is not within {text:?}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        look_at(&text);
    }

    #[test]
    fn no_text_of_meaningful_pieces_panics(pieces in proptest::collection::vec(piece(), 0..60)) {
        look_at(&pieces.concat());
    }

    #[test]
    fn no_change_of_a_good_text_panics(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..12, piece()), 1..5)
    ) {
        let mut text = GOOD.to_owned();
        for (index, removed, piece) in changes {
            let mut start = index.index(text.len());
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + removed).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text.replace_range(start..end, &piece);
        }
        look_at(&text);
    }

    /// JSON is YAML: what a JSON writer makes of a value is read as that value.
    #[test]
    fn json_is_read_as_it_is_meant(name in "[^\0-\x1f\x7f-\u{9f}\u{fffe}\u{ffff}/]{1,30}", port in 1_u16.., weight in 1_u32..=128) {
        let json = serde_json::json!({
            "clusters": [{"name": name, "endpoints": [{"address": format!("127.0.0.1:{port}"), "weight": weight}]}],
        });
        for text in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
            let configuration = load_str("any.json", &text).unwrap();
            let hosts = &configuration.resources.host_sets[&name].hosts;
            prop_assert_eq!(hosts.len(), 1);
            prop_assert_eq!(hosts[0].address.to_string(), format!("127.0.0.1:{port}"));
            prop_assert_eq!(hosts[0].weight, weight);
        }
    }
}
