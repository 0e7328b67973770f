//! Large and hostile inputs take bounded time and memory.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime};

use transom_config::{LARGEST, check_str, load_str};

use crate::registry::registry;

/// Optimised, as people run it, a text of 10 MB is read within two seconds; the tests' own build is several times slower.
fn bound() -> Duration {
    Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 })
}

/// Megabytes of a text that is to be long: one test of ten in an unoptimised build is enough.
const LESS: usize = if cfg!(debug_assertions) { 2 } else { 10 };

fn assert_quick(what: &str, work: impl FnOnce()) {
    let start = processor_time();
    work();
    let took = processor_time() - start;
    println!("{what}: {took:?}");
    assert!(took < bound(), "{what} took {took:?}");
}

/// What this thread has had of a processor: other programs on a busy machine do not count (proc(5), schedstat).
/// The time of day where the kernel does not tell.
fn processor_time() -> Duration {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = statistics.split(' ').next().unwrap_or_default();
    match nanoseconds.parse() {
        Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap(),
    }
}

/// A configuration of `clusters` clusters and as many routes.
fn large(clusters: usize) -> String {
    let mut text = String::from(
        "listeners:\n  - name: ingress\n    address: 127.0.0.1:2046\n    network_filters:\n      - name: http\n        \
         config:\n          virtual_hosts:\n            - domains: [\"*\"]\n              routes:\n",
    );
    for number in 0..clusters {
        writeln!(
            text,
            "                - {{match: {{prefix: /service-{number}/}}, cluster: service-{number}, timeout: 5s}}"
        )
        .unwrap();
    }
    text.push_str("clusters:\n");
    for number in 0..clusters {
        write!(
            text,
            "  - name: service-{number}\n    connect_timeout: 2s\n    endpoints:\n      - 10.0.0.1:80\n      - \
             {{address: \"10.0.0.2:80\", weight: 2}}\n"
        )
        .unwrap();
    }
    text
}

#[test]
fn ten_megabytes_are_read_in_time() {
    let text = large(45_000);
    assert!(
        (9_500_000..LARGEST as usize).contains(&text.len()),
        "{}",
        text.len()
    );
    assert_quick("10 MB", || {
        let configuration = check_str("large.yaml", &text, &registry()).unwrap();
        assert_eq!(configuration.resources.clusters.len(), 45_000);
    });
}

#[test]
fn megabytes_of_mistakes_are_told_in_time() {
    let text = large(LESS * 4_500).replace("cluster: service", "cluster: servce");
    assert_quick("a mistake in every route", || {
        let report = check_str("large.yaml", &text, &registry()).unwrap_err();
        let told = report.to_string();
        assert!(told.contains("unknown cluster `servce-0`"));
        assert!(told.len() < 200_000, "{}", told.len());
    });
}

#[test]
fn megabytes_on_one_line_are_told_in_a_few() {
    let mut text = "{\"clusters\": [".to_owned();
    while text.len() < LESS * 1_000_000 {
        text.push_str("{\"name\": \"a\", \"endpoints\": []}, ");
    }
    text.push_str("5]}");
    assert_quick("one line", || {
        let told = load_str("large.json", &text).unwrap_err().to_string();
        assert!(told.contains("two clusters are named `a`"), "{told}");
        assert!(told.len() < 50_000, "{}", told.len());
    });
}

#[test]
fn a_text_above_the_limit_is_refused_before_it_is_read() {
    let text = "#".repeat(LARGEST as usize + 1);
    let told = load_str("large.yaml", &text).unwrap_err().to_string();
    assert!(told.contains("large.yaml is larger than 16MiB"), "{told}");
}

#[test]
fn hostile_shapes_are_bounded() {
    let million = 1_000_000;
    for (what, text) in [
        ("brackets", "[".repeat(million)),
        ("braces", "{a: ".repeat(million / 4)),
        ("dashes", "- ".repeat(million / 2)),
        (
            "keys",
            (0..100).fold(String::new(), |text, depth| {
                text + &" ".repeat(depth) + "a:\n"
            }),
        ),
        ("anchors", "- &a\n".repeat(million / 5)),
        ("tags", "- !a\n".repeat(million / 5)),
        ("quotes", "\"".repeat(million)),
        ("colons", ":".repeat(million)),
        ("same keys", "a: 1\n".repeat(million / 5)),
        ("long key", "a".repeat(million) + ": 1"),
        (
            "long scalar",
            "listeners: ".to_owned() + &"a".repeat(million),
        ),
        ("digits", "workers: ".to_owned() + &"9".repeat(million)),
        ("question marks", "? ".repeat(million / 2)),
        ("pipes", "a: |\n".to_owned() + &"  x\n".repeat(million / 4)),
        ("comments", "#\n".repeat(million / 2)),
    ] {
        assert_quick(what, || {
            let report = load_str("hostile.yaml", &text).unwrap_err();
            assert!(report.to_string().len() < 200_000, "{what}");
        });
    }
}

/// Each level copies the long text nine times: the limit counts bytes, not nodes.
#[test]
fn an_alias_of_a_long_text_is_bounded() {
    let mut text = format!("a: &a {}\n", "x".repeat(8_000_000));
    text.push_str("b: [");
    text.push_str(&"*a, ".repeat(100_000));
    text.push_str("]\n");
    assert_quick("alias of a long text", || {
        let told = load_str("bomb.yaml", &text).unwrap_err().to_string();
        assert!(told.contains("copy more than 64 MiB"), "{told}");
    });
}
