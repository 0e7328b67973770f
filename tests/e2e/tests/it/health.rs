//! Health checks: which hosts are used, on all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use transom_e2e::tls::{Authority, Folder, answering, upstream};
use transom_e2e::upstream::ok;
use transom_e2e::{Plane, Setup, Upstream, eventually};

fn setup(cluster: &str) -> Setup {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    Setup::to_address(nowhere).no_clusters().cluster_of(cluster)
}

fn healthy(plane: &Plane) -> Vec<bool> {
    let hosts = &plane.proxy.clusters()[0].hosts;
    hosts.iter().map(|host| host.healthy).collect()
}

fn wait_for(plane: &Plane, expected: &[bool]) {
    eventually("a change of health", || {
        (healthy(plane) == expected).then_some(())
    });
}

/// Answers requests for `/health` with a status that the test sets, and others with 200.
fn checked(name: &'static str) -> (Upstream, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let current = Arc::clone(&status);
    let upstream = Upstream::answering(move |request| {
        if request.target() == "/health" {
            let status = current.load(Ordering::SeqCst);
            return format!("HTTP/1.1 {status} S\r\nContent-Length: 0\r\n\r\n").into_bytes();
        }
        ok(name)
    });
    (upstream, status)
}

#[test]
fn a_dead_host_leaves_both_workers_within_one_interval() {
    const INTERVAL: Duration = Duration::from_millis(500);
    let (good, dying) = (Upstream::ok("good"), Upstream::ok("dying"));
    let plane = setup(&format!(
        "{{name: up, endpoints: [\"{}\", \"{}\"], health_check: {{interval: 500ms}}}}",
        good.address(),
        dying.address()
    ))
    .workers(2)
    .start();
    // The kernel spreads them over both workers, but for one time in 2^31.
    let mut clients: Vec<_> = (0..32).map(|_| plane.client()).collect();
    for client in &mut clients {
        let mut answers = [client.get("/").text(), client.get("/").text()];
        answers.sort();
        assert_eq!(answers[1], "good");
    }
    assert_eq!(healthy(&plane), [true, true]);
    drop(dying);
    let died = Instant::now();
    wait_for(&plane, &[true, false]);
    let took = died.elapsed();
    // Beside the interval a busy machine's own delays.
    assert!(took < INTERVAL + Duration::from_millis(400), "{took:?}");
    for client in &mut clients {
        for _ in 0..4 {
            assert_eq!(client.get("/").text(), "good");
        }
    }
    assert_eq!(plane.metric("transom_cluster_hosts_healthy", &[]), 1);
    assert!(plane.metric("transom_health_checks_total", &[("result", "failure")]) >= 1);
    let host = &plane.proxy.clusters()[0].hosts[1];
    assert!(
        host.failure.as_ref().unwrap().contains("refused"),
        "{host:?}"
    );
}

#[test]
fn a_host_is_healthy_by_the_status_that_it_answers() {
    let (a, status) = checked("a");
    let (b, _) = checked("b");
    let plane = setup(&format!(
        "{{name: up, endpoints: [\"{}\", \"{}\"], health_check: {{interval: 10ms, jitter: 5ms, unhealthy_threshold: 2, \
         healthy_threshold: 3, http: {{path: /health, host: app.test, statuses: [200, \"300..302\"]}}}}}}",
        a.address(),
        b.address()
    ))
    .start();
    a.wait_for_requests(1);
    let request = a.last();
    assert_eq!(request.header("host"), Some("app.test"));
    assert_eq!(request.header("user-agent"), Some("transom-health-check"));
    status.store(303, Ordering::SeqCst);
    wait_for(&plane, &[false, true]);
    assert_eq!(
        plane.proxy.clusters()[0].hosts[0].failure.as_deref(),
        Some("answered 303")
    );
    assert_eq!(plane.get("/").text(), "b");
    status.store(302, Ordering::SeqCst);
    wait_for(&plane, &[true, true]);
}

#[test]
fn a_host_that_does_not_answer_in_time_is_unhealthy() {
    let mute = Upstream::serving(
        |mut connection| {
            while let Ok(Some(_)) = connection.request() {}
        },
    );
    let good = Upstream::ok("good");
    let plane = setup(&format!(
        "{{name: up, endpoints: [\"{}\", \"{}\"], health_check: {{interval: 20ms, timeout: 50ms, http: {{}}}}}}",
        mute.address(),
        good.address()
    ))
    .start();
    wait_for(&plane, &[false, true]);
    assert_eq!(
        plane.proxy.clusters()[0].hosts[0].failure.as_deref(),
        Some("no answer within 50ms")
    );
}

#[test]
fn health_survives_reloads_and_goes_with_the_checks() {
    let (sick, status) = checked("sick");
    let good = Upstream::ok("good");
    status.store(500, Ordering::SeqCst);
    // The next check is far away: what is known after the reload was known before it.
    let cluster = |more: &str, check: &str| {
        format!(
            "{{name: up, endpoints: [\"{}\", \"{}\"{more}]{check}}}",
            sick.address(),
            good.address(),
        )
    };
    let check = ", health_check: {interval: 1h, http: {path: /health}}";
    let plane = setup(&cluster("", check)).start();
    wait_for(&plane, &[false, true]);
    let checks = sick.requests().len();
    plane
        .apply(&setup(&cluster("", check)).filter("{name: noop}").yaml())
        .unwrap();
    assert_eq!(healthy(&plane), [false, true]);
    let third = Upstream::ok("third");
    let third = format!(", \"{}\"", third.address());
    plane.apply(&setup(&cluster(&third, check)).yaml()).unwrap();
    assert_eq!(healthy(&plane), [false, true, true]);
    assert_eq!(sick.requests().len(), checks);
    plane.apply(&setup(&cluster("", "")).yaml()).unwrap();
    assert_eq!(healthy(&plane), [true, true]);
}

#[test]
fn other_checks_start_from_what_is_known() {
    let (sick, status) = checked("sick");
    let good = Upstream::ok("good");
    status.store(500, Ordering::SeqCst);
    let cluster = |threshold: u32| {
        format!(
            "{{name: up, endpoints: [\"{}\", \"{}\"], health_check: {{interval: 1h, healthy_threshold: {threshold}, \
             http: {{path: /health}}}}}}",
            sick.address(),
            good.address(),
        )
    };
    let plane = setup(&cluster(1)).start();
    wait_for(&plane, &[false, true]);
    status.store(200, Ordering::SeqCst);
    // One success is not two.
    plane.apply(&setup(&cluster(2)).yaml()).unwrap();
    sick.wait_for_requests(2);
    assert_eq!(healthy(&plane), [false, true]);
    plane.apply(&setup(&cluster(1)).yaml()).unwrap();
    wait_for(&plane, &[true, true]);
}

#[test]
fn a_host_may_have_to_prove_itself_first() {
    let mute = Upstream::serving(
        |mut connection| {
            while let Ok(Some(_)) = connection.request() {}
        },
    );
    let plane = setup(&format!(
        "{{name: up, panic_threshold: 0, endpoints: [\"{}\"], health_check: {{initially: unhealthy, timeout: 1h, \
         http: {{path: /health}}}}}}",
        mute.address(),
    ))
    .start();
    let answer = plane.get("/");
    assert_eq!(answer.status(), 502);
    assert_eq!(healthy(&plane), [false]);
    // In a panic it is used all the same.
    let good = Upstream::ok("good");
    let plane = setup(&format!(
        "{{name: up, endpoints: [\"{}\"], health_check: {{initially: unhealthy, port: 9}}}}",
        good.address(),
    ))
    .start();
    assert_eq!(plane.get("/").text(), "good");
    assert!(plane.proxy.clusters()[0].panic);
    assert_eq!(plane.metric("transom_cluster_panic", &[]), 1);
}

#[test]
fn checks_speak_tls_as_the_cluster_does() {
    let authority = Authority::new("root");
    let folder = Folder::new();
    let ca = folder.write("ca.pem", authority.pem());
    let secure = upstream(
        &authority.sign(&["up.test"]),
        None,
        answering(|_, _| ok("secure")),
    );
    let plain = Upstream::ok("plain");
    let plane = setup(&format!(
        "{{name: up, tls: {{sni: up.test, ca: {ca}}}, endpoints: [\"{}\", \"{}\"], health_check: {{interval: 20ms, http: {{}}}}}}",
        secure,
        plain.address()
    ))
    .start();
    wait_for(&plane, &[true, false]);
}

#[test]
fn a_host_that_fails_in_traffic_is_left_out_for_a_while() {
    let status = Arc::new(AtomicU16::new(500));
    let current = Arc::clone(&status);
    let failing = Upstream::answering(move |_| {
        let status = current.load(Ordering::SeqCst);
        format!("HTTP/1.1 {status} S\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let good = Upstream::ok("good");
    let cluster = format!(
        "{{name: up, endpoints: [\"{}\", \"{}\"], outlier_detection: {{consecutive_failures: 3, base_ejection: 300ms}}}}",
        failing.address(),
        good.address()
    );
    let plane = setup(&cluster).workers(2).start();
    // Failures of both workers count together.
    for _ in 0..32 {
        assert!([200, 500].contains(&plane.get("/").status()));
    }
    assert_eq!(failing.requests().len(), 3);
    assert_eq!(healthy(&plane), [false, true]);
    assert!(plane.proxy.clusters()[0].hosts[0].ejected);
    assert_eq!(plane.metric("transom_cluster_ejections_total", &[]), 1);
    plane
        .apply(&setup(&cluster).workers(2).filter("{name: noop}").yaml())
        .unwrap();
    assert_eq!(healthy(&plane), [false, true]);
    status.store(204, Ordering::SeqCst);
    wait_for(&plane, &[true, true]);
    eventually("an answer of the host", || {
        (plane.get("/").status() == 204).then_some(())
    });
}

#[test]
fn a_host_that_is_not_there_is_left_out() {
    let gone = Upstream::ok("gone").address();
    let good = Upstream::ok("good");
    let plane = setup(&format!(
        "{{name: up, endpoints: [\"{gone}\", \"{}\"], outlier_detection: {{consecutive_failures: 2}}}}",
        good.address()
    ))
    .start();
    let failed = (0..16).filter(|_| plane.get("/").status() == 502).count();
    assert_eq!(failed, 2);
}
