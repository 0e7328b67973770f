//! Reloads and generations: what changes between two requests, what stays, and what streams under way keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use transom_api::Node;
use transom_e2e::{Client, Plane, Setup, Upstream, eventually};

fn tag(value: &str) -> String {
    format!("{{name: tag, config: {{value: {value}}}}}")
}

#[test]
fn filters_change_between_two_requests_of_one_connection() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream);
    let plane = setup.clone().filter(&tag("one")).start();
    let mut client = plane.client();
    assert_eq!(client.get("/").header("x-tag"), Some("one"));
    plane
        .apply(&setup.clone().filter(&tag("two")).yaml())
        .unwrap();
    assert_eq!(client.get("/").header("x-tag"), Some("two"));
    plane.apply(&setup.yaml()).unwrap();
    assert_eq!(client.get("/").header("x-tag"), None);
    assert_eq!(plane.metric("transom_connections_total", &[]), 1);
}

#[test]
fn a_stream_keeps_the_filters_that_it_began_with() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream);
    let plane = setup
        .clone()
        .filter(&tag("one"))
        .filter("{name: pause, config: {at: request_headers, stop: all}}")
        .start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let resumer = plane.lab.resumer("pause");
    plane.apply(&setup.filter(&tag("two")).yaml()).unwrap();
    assert_eq!(plane.get("/").header("x-tag"), Some("two"));
    resumer.post(0);
    assert_eq!(client.answer().header("x-tag"), Some("one"));
    assert_eq!(client.get("/").header("x-tag"), Some("two"));
}

#[test]
fn what_did_not_change_survives_a_reload() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream)
        .filter("{name: part, config: {version: \"1\"}}")
        .filter("{name: trace}");
    let plane = setup.start();
    let mut client = plane.client();
    assert_eq!(client.get("/").header("x-part"), Some("1/1"));
    let address = plane.address("in");
    plane
        .apply(&setup.clone().filter(&tag("new")).yaml())
        .unwrap();
    let answer = client.get("/");
    // The filter was neither prepared nor built again: its part counts on.
    assert_eq!(answer.header("x-part"), Some("1/2"));
    assert_eq!(answer.header("x-tag"), Some("new"));
    assert_eq!(plane.lab.count("part.prepare"), 1);
    assert_eq!(plane.lab.count("part.built on 0"), 1);
    // The listener's socket, the client's connection and the connection to the host are the same.
    assert_eq!(plane.address("in"), address);
    assert_eq!(upstream.connections(), 1);
    // Another order or another failure policy is no change of a filter either.
    let other = Setup::to(&upstream)
        .filter("{name: trace}")
        .filter("{name: part, on_failure: open, config: {version: \"1\"}}");
    plane.apply(&other.yaml()).unwrap();
    assert_eq!(client.get("/").header("x-part"), Some("1/3"));
    assert_eq!(plane.lab.count("part.prepare"), 1);
}

#[test]
fn hosts_come_and_go_and_those_that_stay_keep_their_connections() {
    let first = Upstream::ok("first");
    let second = Upstream::ok("second");
    let setup = |hosts: &[&Upstream]| {
        let hosts: Vec<_> = hosts.iter().map(|host| host.address()).collect();
        Setup::to(&first).no_clusters().cluster("up", &hosts).yaml()
    };
    let plane = Plane::start(1, &setup(&[&first]));
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "first");
    plane.apply(&setup(&[&first, &second])).unwrap();
    let mut answers: Vec<String> = (0..4).map(|_| client.get("/").text()).collect();
    answers.sort();
    assert_eq!(answers, ["first", "first", "second", "second"]);
    assert_eq!((first.connections(), second.connections()), (1, 1));
    plane.apply(&setup(&[&second])).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "second");
    }
    assert_eq!(second.connections(), 1);
}

#[test]
fn a_listener_that_goes_ends_its_connections_after_what_they_are_doing() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter("{name: pause, config: {at: request_headers, stop: all}}")
        .start();
    let address = plane.address("in");
    let mut idle = plane.client();
    let mut busy = plane.client();
    busy.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let resumer = plane.lab.resumer("pause");
    let other = Setup::to(&upstream)
        .yaml()
        .replace("name: in", "name: other");
    plane.apply(&other).unwrap();
    assert!(idle.is_closed());
    resumer.post(0);
    assert_eq!(busy.answer().text(), "up");
    assert!(busy.is_closed());
    eventually("a closed port", || {
        std::net::TcpStream::connect(address).err()
    });
    assert_eq!(
        Client::connect(plane.address("other")).get("/").text(),
        "up"
    );
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream).filter(&tag("one"));
    let plane = setup.start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let in_use = format!(
        "{}  - name: second\n    address: {taken}\n    network_filters: [{{name: tcp_proxy, config: {{cluster: up}}}}]\nclusters:",
        setup.yaml().split("clusters:").next().unwrap()
    );
    let clusters = setup.yaml();
    let clusters = clusters.split("clusters:").nth(1).unwrap();
    for (yaml, expected) in [
        (
            setup.yaml().replace("name: tag", "name: tga"),
            "unknown stream filter `tga`",
        ),
        (
            setup.yaml().replace("cluster: up}", "cluster: down}"),
            "down",
        ),
        (format!("{in_use}{clusters}"), ""),
    ] {
        match plane.apply(&yaml) {
            Err(error) => assert!(error.contains(expected), "{error}"),
            // The listener that held the port is gone by now.
            Ok(()) => assert_eq!(expected, ""),
        }
        assert_eq!(plane.get("/").header("x-tag"), Some("one"));
    }
}

#[test]
fn a_port_in_use_is_refused_with_its_address() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream);
    let plane = setup.start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = plane
        .apply(&setup.yaml().replace("127.0.0.1:0", &address.to_string()))
        .unwrap_err();
    assert!(
        error.contains(&format!("the listener `in` cannot listen on {address}")),
        "{error}"
    );
    assert!(error.contains("another process"), "{error}");
    assert_eq!(plane.get("/").text(), "up");
}

/// Clients that send one request after the other, each over one connection, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(plane: &Plane, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let threads = (0..clients).map(|_| {
            let mut client = plane.client();
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut tags = Vec::new();
                loop {
                    // The last request begins after the word to stop.
                    let last = stop.load(Ordering::SeqCst);
                    let answer = client.get("/");
                    assert_eq!(answer.status(), 200);
                    tags.push(answer.headers("x-tag"));
                    done.fetch_add(1, Ordering::SeqCst);
                    if last {
                        break;
                    }
                }
                tags
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            done,
        }
    }

    /// Waits for so many more requests.
    fn run(&self, requests: usize) {
        let until = self.done.load(Ordering::SeqCst) + requests;
        eventually("requests", || {
            (self.done.load(Ordering::SeqCst) >= until).then_some(())
        });
    }

    /// The tags of all answers, each client's in order.
    fn end(self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    }
}

#[test]
fn reloads_under_load_fail_no_request() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream).workers(2);
    let plane = setup.clone().filter(&tag("v0")).start();
    let load = Load::start(&plane, 4);
    for version in 1..=10 {
        load.run(20);
        plane
            .apply(&setup.clone().filter(&tag(&format!("v{version}"))).yaml())
            .unwrap();
    }
    load.run(20);
    for tags in load.end() {
        // Each client saw the versions in their order.
        let versions: Vec<usize> = tags.iter().map(|tag| tag[1..].parse().unwrap()).collect();
        assert!(versions.is_sorted(), "{versions:?}");
        assert_eq!(versions.last(), Some(&10));
    }
}

fn value(value: &str) -> Node {
    Node::map([("value", value.into())])
}

fn share(plane: &Plane, requests: usize, of: &str) -> usize {
    (0..requests)
        .filter(|_| plane.get("/").headers("x-tag") == of)
        .count()
}

#[test]
fn a_newer_generation_gets_its_share_is_promoted_and_rolled_back() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).filter(&tag("old")).start();
    let proxy = Arc::clone(&plane.proxy);
    let status = plane
        .wait(proxy.start_generation("in", "tag", "tag", &value("new"), 50))
        .unwrap();
    let shares: Vec<u8> = status.generations.iter().map(|it| it.share).collect();
    assert_eq!(shares, [50, 50]);
    // Shares are dealt evenly, so this is exact with one worker.
    assert_eq!(share(&plane, 20, "new"), 10);
    plane.wait(proxy.share_generation("in", "tag", 10)).unwrap();
    assert_eq!(share(&plane, 100, "new"), 10);
    // A second one beside it is refused.
    let third = value("third");
    let third = proxy.start_generation("in", "tag", "tag", &third, 50);
    assert!(
        plane
            .wait(third)
            .unwrap_err()
            .to_string()
            .contains("promote it or roll it back")
    );
    assert!(
        share(&plane, 100, "new") > 0,
        "the refused one has not rolled the newer one back"
    );
    plane.wait(proxy.roll_back_generation("in", "tag")).unwrap();
    assert_eq!(share(&plane, 10, "new"), 0);
    assert!(plane.wait(proxy.promote_generation("in", "tag")).is_err());

    plane
        .wait(proxy.start_generation("in", "tag", "tag", &value("newer"), 0))
        .unwrap();
    assert_eq!(share(&plane, 10, "newer"), 0);
    let status = plane.wait(proxy.promote_generation("in", "tag")).unwrap();
    assert_eq!(status.generations.len(), 1);
    assert_eq!(share(&plane, 10, "newer"), 10);
    // A reload that says the same of the filter leaves it; one that says something else has the last word.
    let setup = Setup::to(&upstream);
    plane
        .apply(
            &setup
                .clone()
                .filter(&tag("old"))
                .filter("{name: noop}")
                .yaml(),
        )
        .unwrap();
    assert_eq!(share(&plane, 10, "newer"), 10);
    plane.apply(&setup.filter(&tag("declared")).yaml()).unwrap();
    assert_eq!(share(&plane, 10, "declared"), 10);
}

#[test]
fn generations_come_and_go_under_load_without_a_failed_request() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).workers(2).filter(&tag("old")).start();
    let proxy = Arc::clone(&plane.proxy);
    let load = Load::start(&plane, 4);
    for round in 0..5 {
        let new = value("new");
        plane
            .wait(proxy.start_generation("in", "tag", "tag", &new, 50))
            .unwrap();
        load.run(40);
        if round < 4 {
            plane.wait(proxy.roll_back_generation("in", "tag")).unwrap();
            load.run(20);
        }
    }
    plane.wait(proxy.promote_generation("in", "tag")).unwrap();
    load.run(20);
    let tags = load.end();
    assert!(
        tags.iter()
            .flatten()
            .all(|tag| tag == "old" || tag == "new")
    );
    assert!(tags.iter().flatten().any(|tag| tag == "old"));
    assert!(
        tags.iter()
            .all(|tags| tags.last().is_some_and(|tag| tag == "new"))
    );
}

#[test]
fn streams_under_way_end_on_the_generation_that_they_began_with() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter(&tag("old"))
        .filter("{name: pause, config: {at: request_headers, stop: all}}")
        .start();
    let proxy = Arc::clone(&plane.proxy);
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let resumer = plane.lab.resumer("pause");
    let status = plane
        .wait(proxy.start_generation("in", "tag", "tag", &value("new"), 100))
        .unwrap();
    assert_eq!(status.generations[0].streams, 1);
    plane.wait(proxy.promote_generation("in", "tag")).unwrap();
    resumer.post(0);
    assert_eq!(client.answer().headers("x-tag"), "old");
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    plane.lab.resumer("pause").post(0);
    assert_eq!(client.answer().headers("x-tag"), "new");
}

#[test]
fn a_generation_that_cannot_be_built_everywhere_is_nowhere() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).workers(2).filter(&tag("old")).start();
    let proxy = Arc::clone(&plane.proxy);
    let empty = Node::map([]);
    let start = proxy.start_generation("in", "tag", "second_worker", &empty, 100);
    assert!(
        plane
            .wait(start)
            .unwrap_err()
            .to_string()
            .contains("worker 1")
    );
    let status = plane.wait(proxy.generations("in", "tag")).unwrap();
    assert_eq!(status.generations.len(), 1);
    for _ in 0..20 {
        assert_eq!(plane.get("/").headers("x-tag"), "old");
    }
}

#[test]
fn failures_of_a_generation_are_counted() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).filter(&tag("old")).start();
    let proxy = Arc::clone(&plane.proxy);
    let panics = Node::map([("at", "request_headers".into())]);
    plane
        .wait(proxy.start_generation("in", "tag", "panic", &panics, 50))
        .unwrap();
    let failed = (0..10).filter(|_| plane.get("/").status() == 500).count();
    assert_eq!(failed, 5);
    let status = plane.wait(proxy.generations("in", "tag")).unwrap();
    let failures: Vec<u64> = status.generations.iter().map(|it| it.failures).collect();
    assert_eq!(failures, [0, 5]);
}

#[test]
fn a_generation_survives_a_reload_that_does_not_touch_its_filter() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream).filter(&tag("old"));
    let plane = setup.start();
    let proxy = Arc::clone(&plane.proxy);
    plane
        .wait(proxy.start_generation("in", "tag", "tag", &value("new"), 50))
        .unwrap();
    plane
        .apply(&setup.clone().filter("{name: trace}").yaml())
        .unwrap();
    assert_eq!(share(&plane, 10, "new"), 5);
    // One that changes it is a new beginning.
    plane
        .apply(&Setup::to(&upstream).filter(&tag("third")).yaml())
        .unwrap();
    assert_eq!(share(&plane, 10, "third"), 10);
}
