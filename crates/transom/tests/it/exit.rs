//! Exit codes, and what a person is told with them.

use std::net::TcpListener;

use crate::program::{Folder, configuration, run};

fn good() -> String {
    configuration("127.0.0.1:9".parse().unwrap(), "")
}

#[test]
fn answers_are_0_and_bad_arguments_are_2() {
    let (code, out, err) = run(&["version"], None);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("transom "), "{out}");
    assert_eq!(run(&["--help"], None).0, 0);
    for arguments in [&["rnu"][..], &[], &["run", "--what"], &["check"]] {
        let (code, out, err) = run(arguments, None);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(!err.is_empty());
    }
}

#[test]
fn check_is_0_for_a_good_file_and_2_with_the_place_for_a_bad_one() {
    let folder = Folder::new();
    let file = folder.write("good.yaml", &good());
    assert_eq!(run(&["check"], Some(&file)).0, 0);
    let file = folder.write("bad.yaml", &good().replace("cluster: up", "clutser: up"));
    let (code, out, err) = run(&["check"], Some(&file));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.contains("clutser") && err.contains("bad.yaml:10:"),
        "{err}"
    );
    // What check refuses, run refuses in the same words.
    let (code, _, again) = run(&["run", "-c"], Some(&file));
    assert_eq!((code, again), (2, err));
}

#[test]
fn a_file_that_is_not_there_is_2() {
    let folder = Folder::new();
    let file = folder
        .write("there.yaml", "")
        .with_file_name("missing.yaml");
    let (code, _, err) = run(&["run", "-c"], Some(&file));
    assert_eq!(code, 2);
    assert!(err.contains("there is no file"), "{err}");
}

#[test]
fn a_port_in_use_is_2_and_is_shown_at_its_place() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = Folder::new();
    let file = folder.write(
        "taken.yaml",
        &good().replace("127.0.0.1:0", &address.to_string()),
    );
    let (code, _, err) = run(&["run", "-c"], Some(&file));
    assert_eq!(code, 2, "{err}");
    let expected = format!("the listener `in` cannot listen on {address}");
    assert!(err.contains(&expected), "{err}");
    assert!(err.contains("taken.yaml:5:"), "{err}");
    assert!(err.contains("choose another port"), "{err}");
}
