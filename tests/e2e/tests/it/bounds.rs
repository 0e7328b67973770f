//! Bounds of clusters: a limit of N admits N, over all workers, before and after a reload.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use transom_e2e::upstream::ok;
use transom_e2e::{Client, Plane, Setup, Upstream, eventually};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Answers a request for each word of the sender; all of them when it is gone.
fn held() -> (Upstream, Sender<()>) {
    let (release, held) = channel();
    let held: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(held));
    let upstream = Upstream::answering(move |_| {
        let _ = held.lock().unwrap().recv();
        ok("up")
    });
    (upstream, release)
}

fn setup(upstream: &Upstream, options: &str) -> Setup {
    Setup::to(upstream)
        .workers(2)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [\"{}\"], {options}}}",
            upstream.address()
        ))
        .access_log(
            "{name: attributes, config: [response.code, response.flags, response.code_details]}",
        )
}

/// Sends a request on each of so many new connections, which the kernel spreads over both workers.
fn send(plane: &Plane, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| plane.client()).collect();
    for client in &mut clients {
        client.send(REQUEST);
    }
    clients
}

fn active(plane: &Plane) -> i64 {
    plane.metric("transom_cluster_requests_active", &[])
}

fn overflows(plane: &Plane, bound: &str) -> i64 {
    plane.metric("transom_cluster_overflows_total", &[("bound", bound)])
}

#[test]
fn a_limit_of_requests_admits_as_many_before_and_after_a_reload() {
    let (upstream, release) = held();
    let setup = |most: u32| {
        setup(
            &upstream,
            &format!("circuit_breakers: {{max_requests: {most}}}"),
        )
    };
    let plane = setup(10).start();
    let admitted = send(&plane, 10);
    upstream.wait_for_requests(10);
    for mut client in send(&plane, 6) {
        let answer = client.answer();
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (503, "Service Unavailable\n")
        );
    }
    assert_eq!((active(&plane), overflows(&plane, "requests")), (10, 6));
    // Those that are there count on: of twelve places ten are taken.
    plane.apply(&setup(12).yaml()).unwrap();
    let more = send(&plane, 2);
    upstream.wait_for_requests(12);
    assert_eq!(send(&plane, 1)[0].answer().status(), 503);
    // A smaller limit ends nobody.
    plane.apply(&setup(3).yaml()).unwrap();
    assert_eq!(send(&plane, 1)[0].answer().status(), 503);
    drop(release);
    for mut client in admitted.into_iter().chain(more) {
        assert_eq!(client.answer().text(), "up");
    }
    eventually("the end of all requests", || {
        (active(&plane) == 0).then_some(())
    });
    assert_eq!(plane.get("/").text(), "up");
}

#[test]
fn requests_beyond_the_connections_wait_for_one_whichever_worker_has_it() {
    let (upstream, release) = held();
    let plane = setup(
        &upstream,
        "circuit_breakers: {max_connections: 3, max_pending: 20}",
    )
    .start();
    let mut clients = send(&plane, 23);
    upstream.wait_for_requests(3);
    eventually("requests that wait", || {
        (plane.metric("transom_cluster_requests_pending", &[]) == 20).then_some(())
    });
    // No more may wait.
    let answer = send(&plane, 1)[0].answer();
    assert_eq!(answer.status(), 503);
    assert_eq!(overflows(&plane, "connections"), 1);
    drop(release);
    for client in &mut clients {
        assert_eq!(client.answer().text(), "up");
    }
    assert_eq!(upstream.requests().len(), 23);
    assert!(plane.metric("transom_cluster_connections_active", &[]) <= 3);
    assert_eq!(plane.metric("transom_cluster_requests_pending", &[]), 0);
}

#[test]
fn an_idle_connection_of_another_worker_makes_room() {
    let upstream = Upstream::ok("up");
    let plane = setup(&upstream, "circuit_breakers: {max_connections: 1}").start();
    // Sooner or later each worker needs the one connection that the other keeps.
    for _ in 0..40 {
        assert_eq!(plane.get("/").text(), "up");
    }
    assert!(upstream.connections() > 1);
    assert_eq!(plane.metric("transom_cluster_connections_active", &[]), 1);
}

#[test]
fn an_idle_connection_to_another_host_makes_room() {
    let (a, b) = (Upstream::ok("a"), Upstream::ok("b"));
    let plane = Setup::to(&a)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [\"{}\", \"{}\"], circuit_breakers: {{max_connections: 1, max_pending: 1}}}}",
            a.address(),
            b.address()
        ))
        .start();
    let mut client = plane.client();
    let answers: Vec<String> = (0..6).map(|_| client.get("/").text()).collect();
    assert_eq!(answers, ["a", "b", "a", "b", "a", "b"]);
}

#[test]
fn who_goes_away_while_waiting_leaves_its_place() {
    let (upstream, release) = held();
    let plane = setup(
        &upstream,
        "circuit_breakers: {max_connections: 1, max_pending: 1}",
    )
    .start();
    let mut first = send(&plane, 1);
    upstream.wait_for_requests(1);
    let waiting = send(&plane, 1);
    let pending = |count: i64| {
        eventually("requests that wait", || {
            (plane.metric("transom_cluster_requests_pending", &[]) == count).then_some(())
        });
    };
    pending(1);
    waiting.into_iter().for_each(Client::reset);
    pending(0);
    let mut second = send(&plane, 1);
    pending(1);
    drop(release);
    assert_eq!(first[0].answer().text(), "up");
    assert_eq!(second[0].answer().text(), "up");
}

#[test]
fn a_host_has_no_more_connections_than_allowed() {
    let (upstream, release) = held();
    let plane = setup(
        &upstream,
        "circuit_breakers: {max_pending: 0}, pool: {max_connections_per_host: 2}",
    )
    .start();
    let mut admitted = send(&plane, 2);
    upstream.wait_for_requests(2);
    assert_eq!(send(&plane, 1)[0].answer().status(), 503);
    drop(release);
    for client in &mut admitted {
        assert_eq!(client.answer().text(), "up");
    }
}

#[test]
fn an_overflow_has_its_flag() {
    let (upstream, release) = held();
    let plane = setup(&upstream, "circuit_breakers: {max_requests: 1}").start();
    let mut admitted = send(&plane, 1);
    upstream.wait_for_requests(1);
    assert_eq!(plane.get("/").status(), 503);
    let line = eventually("a line of the access log", || {
        plane.lab.notes().first().cloned()
    });
    assert!(line.contains("UO") && line.contains("{overflow}"), "{line}");
    drop(release);
    assert_eq!(admitted[0].answer().text(), "up");
}

#[test]
fn connections_grow_old() {
    let upstream = Upstream::ok("up");
    let plane = setup(&upstream, "pool: {max_age: 1ms}").start();
    let mut client = plane.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "up");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(upstream.connections(), 3);
}
