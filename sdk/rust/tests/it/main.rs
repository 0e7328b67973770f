//! The SDK against a host that is played message by message.

use std::path::PathBuf;
use std::process::Command;

/// The example beside this test: cargo builds examples with it.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    folder.join("examples").join(name)
}

#[tokio::test]
async fn the_conformance_run() {
    let program = example("conformance");
    let outcomes = transom_test_sdk::run(|| Command::new(&program), "").await;
    let faults: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}: {}", outcome.name, outcome.fault.as_ref()?)))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(outcomes.len() > 30, "{} cases ran", outcomes.len());
}

#[test]
fn a_plugin_that_no_host_started_says_so() {
    let output = Command::new(example("conformance")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("plugin"), "{text}");
}
