//! What lives on a worker: parts that are built anew, fail to be built, and outlive what replaces them.

use transom_e2e::{Plane, Setup, Upstream, eventually};

const PART: &str = "{name: part, config: {version: \"1\"}}";

fn wait(plane: &Plane) -> transom_e2e::Client {
    let mut client = plane.client();
    client.send("GET /wait HTTP/1.1\r\nHost: test\r\n\r\n");
    client
}

#[test]
fn a_part_has_messages_of_its_own() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).workers(2).filter(PART).start();
    for worker in 0..2 {
        plane.lab.wait_for(&format!("part.built on {worker}"));
        plane.lab.wait_for(&format!("part.told itself on {worker}"));
    }
}

#[test]
fn a_part_is_built_anew_after_a_failure_while_its_streams_run() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).filter(PART).start();
    let mut waiting = wait(&plane);
    let resumer = plane.lab.resumer("part");
    assert_eq!(plane.get("/").header("x-part"), Some("1/2"));
    assert_eq!(plane.get("/break").status(), 500);
    plane.lab.wait_for_times("part.built on 0", 2);
    // New streams have the new part, which counts from one.
    let answer = eventually("the new part", || {
        let answer = plane.get("/");
        (answer.status() == 200).then_some(answer)
    });
    assert_eq!(answer.header("x-part"), Some("1/1"));
    // What streams still hold of the old one stays until they end.
    assert_eq!(plane.lab.count("part.state 1 dropped"), 0);
    resumer.post(0);
    let answer = waiting.answer();
    assert_eq!(
        (answer.status(), answer.header("x-part")),
        (200, Some("1/1"))
    );
    plane.lab.wait_for("part.state 1 dropped");
}

#[test]
fn a_reload_builds_a_changed_part_while_the_old_ones_streams_run() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream).workers(2);
    let plane = setup.clone().filter(PART).start();
    let mut waiting = wait(&plane);
    let resumer = plane.lab.resumer("part");
    let next = setup.filter("{name: part, config: {version: \"2\"}}");
    plane.apply(&next.yaml()).unwrap();
    assert!(plane.get("/").header("x-part").unwrap().starts_with("2/"));
    resumer.post(0);
    assert!(waiting.answer().header("x-part").unwrap().starts_with("1/"));
    // The old parts and all that their streams held of them are gone by themselves.
    plane.lab.wait_for_times("part.part dropped", 2);
    plane.lab.wait_for_times("part.state 1 dropped", 2);
    assert_eq!(plane.lab.count("part.state 2 dropped"), 0);
}

#[test]
fn a_filter_that_cannot_be_built_on_the_second_worker_leaves_the_old_configuration_on_both() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream).workers(2).filter(PART);
    let plane = setup.start();
    let error = plane
        .apply(
            &setup
                .clone()
                .filter("{name: second_worker, config: {}}")
                .yaml(),
        )
        .unwrap_err();
    assert_eq!(
        error,
        "worker 1: the filter `second_worker` could not be built: made not to be built here"
    );
    for _ in 0..20 {
        assert_eq!(
            plane.get("/").header("x-part").map(|part| &part[..2]),
            Some("1/")
        );
    }
    assert_eq!(plane.lab.count("second_worker.stream"), 0);
    // What the first worker had built is dropped, and nothing was built of the part that did not change.
    plane.lab.wait_for("second_worker.dropped");
    assert_eq!(plane.lab.count("part.built on 0"), 1);
    // The way is free for a good one.
    plane.apply(&setup.filter("{name: trace}").yaml()).unwrap();
    assert_eq!(plane.get("/").status(), 200);
    plane.lab.wait_for("trace.complete");
}

#[test]
fn a_part_that_panics_while_it_is_built_leaves_the_old_configuration() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream);
    let plane = setup.start();
    let broken = setup.filter("{name: part, config: {panics: true}}");
    let error = plane.apply(&broken.yaml()).unwrap_err();
    assert!(error.contains("it panicked while it was built"), "{error}");
    assert_eq!(plane.get("/").text(), "up");
}

#[test]
fn a_part_that_cannot_be_rebuilt_is_tried_again_and_new_streams_meet_the_policy() {
    let upstream = Upstream::ok("up");
    for (policy, meanwhile) in [("closed", 503), ("open", 200)] {
        let plane = Setup::to(&upstream)
            .filter(&format!(
                "{{name: part, on_failure: {policy}, config: {{failing_rebuilds: 2}}}}"
            ))
            .start();
        let answer = plane.get("/break");
        assert_eq!(answer.status(), if policy == "closed" { 500 } else { 200 });
        plane.lab.wait_for("part.not rebuilt");
        let answer = plane.get("/");
        assert_eq!(
            (answer.status(), answer.header("x-part")),
            (meanwhile, None)
        );
        let answer = eventually("the new part", || {
            let answer = plane.get("/");
            answer.header("x-part").is_some().then_some(answer)
        });
        assert_eq!(answer.header("x-part"), Some("1/1"));
        assert_eq!(plane.lab.count("part.not rebuilt"), 2);
    }
}

#[test]
fn all_streams_of_a_worker_may_share_one_filter() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter("{name: one_for_all, config: {}}")
        .start();
    let mut client = plane.client();
    for count in ["1", "2"] {
        assert_eq!(client.get("/").header("x-all"), Some(count));
    }
    assert_eq!(plane.get("/").header("x-all"), Some("3"));
}
