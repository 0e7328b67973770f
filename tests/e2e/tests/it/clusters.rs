//! Which host gets a request.

use std::collections::BTreeMap;

use transom_e2e::upstream::ok;
use transom_e2e::{Client, Plane, Setup, Upstream, eventually};

fn named(name: &'static str) -> Upstream {
    Upstream::ok(name)
}

fn answers(client: &mut Client, count: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..count {
        *counts.entry(client.get("/").text()).or_default() += 1;
    }
    counts
}

fn plane(workers: usize, cluster: &str) -> Plane {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    Setup::to_address(nowhere)
        .workers(workers)
        .no_clusters()
        .cluster_of(cluster)
        .start()
}

#[test]
fn each_selector_sends_requests_to_all_hosts() {
    let (a, b) = (named("a"), named("b"));
    for selector in [
        "random",
        "least_request",
        "{name: least_request, config: {choices: 3}}",
        "{name: round_robin}",
    ] {
        let plane = plane(
            1,
            &format!(
                "{{name: up, load_balancing: {selector}, endpoints: [\"{}\", \"{}\"]}}",
                a.address(),
                b.address()
            ),
        );
        let counts = answers(&mut plane.client(), 64);
        assert!(
            counts["a"] >= 8 && counts["b"] >= 8,
            "{selector}: {counts:?}"
        );
    }
}

#[test]
fn round_robin_follows_the_weights() {
    let (a, b) = (named("a"), named("b"));
    let plane = plane(
        1,
        &format!(
            "{{name: up, endpoints: [{{address: \"{}\", weight: 3}}, \"{}\"]}}",
            a.address(),
            b.address()
        ),
    );
    let counts = answers(&mut plane.client(), 40);
    assert_eq!((counts["a"], counts["b"]), (30, 10));
}

#[test]
fn least_request_passes_by_a_host_that_is_busy() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    // Answers nothing for as long as the test has not let it.
    let slow = Upstream::answering(move |_| {
        let _ = wait.lock().unwrap().recv();
        ok("slow")
    });
    let quick = named("quick");
    let cluster = |hosts: &[&Upstream]| {
        let hosts: Vec<String> = hosts
            .iter()
            .map(|host| format!("\"{}\"", host.address()))
            .collect();
        Setup::to(&slow)
            .no_clusters()
            .cluster_of(&format!(
                "{{name: up, load_balancing: {{name: least_request, config: {{choices: 16}}}}, endpoints: [{}]}}",
                hosts.join(", ")
            ))
            .yaml()
    };
    let plane = Plane::start(1, &cluster(&[&slow]));
    let mut stuck = plane.client();
    stuck.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    slow.wait_for_requests(1);
    // What a host has to do stays known through a reload.
    plane.apply(&cluster(&[&slow, &quick])).unwrap();
    let mut client = plane.client();
    // Of sixteen draws one is the idle host but for one time in 65,536.
    assert_eq!(
        answers(&mut client, 32),
        BTreeMap::from([("quick".to_owned(), 32)])
    );
    eventually("that only the stuck request is left", || {
        let hosts = &plane.proxy.clusters()[0].hosts;
        (hosts[0].active == 1 && hosts[1].active == 0).then_some(())
    });
    drop(release);
    assert_eq!(stuck.answer().text(), "slow");
    eventually("the end of the request", || {
        (plane.metric("transom_host_active", &[]) == 0).then_some(())
    });
}

#[test]
fn another_selector_takes_over_with_a_reload() {
    let (a, b) = (named("a"), named("b"));
    let cluster = |selector: &str| {
        let nowhere = "127.0.0.1:9".parse().unwrap();
        Setup::to_address(nowhere)
            .no_clusters()
            .cluster_of(&format!(
                "{{name: up, load_balancing: {selector}, endpoints: [\"{}\", \"{}\"]}}",
                a.address(),
                b.address()
            ))
            .yaml()
    };
    let plane = Plane::start(1, &cluster("round_robin"));
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "a");
    plane.apply(&cluster("random")).unwrap();
    assert_eq!(plane.proxy.clusters()[0].load_balancing, "random");
    assert_eq!(answers(&mut client, 32).values().sum::<usize>(), 32);
    let refused = plane.apply(&cluster("randm")).unwrap_err();
    assert!(
        refused.contains("Known names: least_request, random, round_robin"),
        "{refused}"
    );
}
