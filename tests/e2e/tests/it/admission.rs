//! Which connections are accepted, when, and by which worker.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use transom_e2e::{Client, PATIENCE, Plane, Setup, Upstream, eventually};

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether an echo serves the connection within this time.
fn is_served(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    stream.write_all(b"x").unwrap();
    match stream.read(&mut [0; 8]) {
        Ok(0) => panic!("it was closed"),
        Ok(_) => true,
        Err(error) => {
            let is_timeout = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
            assert!(is_timeout.contains(&error.kind()), "{error}");
            false
        }
    }
}

fn echo(name: &str, options: &str) -> String {
    format!(
        "  - {{name: {name}, address: \"127.0.0.1:0\", network_filters: [{{name: echo}}]{options}}}\n"
    )
}

/// Without it the kernel deals forty connections out unevenly, but for a chance of one in a thousand million.
#[test]
fn exact_balance_gives_every_worker_as_many_connections() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream)
        .workers(4)
        .listener_option("balance: exact")
        .filter("{name: part, config: {version: v}}");
    let plane = setup.start();
    let counts = |clients: &mut Vec<Client>| {
        // Each worker's part counts what it serves.
        let mut counts = BTreeMap::<String, usize>::new();
        for client in clients {
            let answer = client.get("/");
            *counts
                .entry(answer.header("x-part").unwrap().to_owned())
                .or_default() += 1;
        }
        counts
    };
    let mut clients: Vec<_> = (0..40).map(|_| plane.client()).collect();
    let expected: BTreeMap<_, _> = (1..=10).map(|count| (format!("v/{count}"), 4)).collect();
    assert_eq!(counts(&mut clients), expected);
    // And through a reload, with clients that come and go.
    plane
        .apply(&setup.option("limits: {fields: 50}").yaml())
        .unwrap();
    clients.truncate(20);
    eventually("twenty are open", || {
        (plane.metric("transom_connections_active", &[]) == 20).then_some(())
    });
    clients.extend((0..20).map(|_| plane.client()));
    let mut all = counts(&mut clients);
    // The parts have counted ten each before.
    all.retain(|_, count| *count == 4);
    assert_eq!(all.len(), 10, "{all:?}");
}

/// A listener with exact balance goes while others are on their way from worker to worker.
#[test]
fn exact_balance_loses_no_connection_when_listeners_change() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream)
        .workers(4)
        .listener_option("balance: exact");
    let plane = setup.start();
    let address = plane.address("in");
    let yaml = |name: &str| {
        let yaml = setup.yaml().replace("127.0.0.1:0", &address.to_string());
        yaml.replace("name: in\n", &format!("name: {name}\n"))
    };
    let client = std::thread::spawn(move || {
        for _ in 0..400 {
            let mut client = Client::connect(address);
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            assert_eq!(client.answer().status(), 200);
        }
    });
    let mut round = 0;
    while !client.is_finished() {
        round += 1;
        plane.apply(&yaml(&format!("in{}", round % 3))).unwrap();
    }
    client.join().unwrap();
    assert!(round > 3, "{round} reloads");
}

#[test]
fn connections_beyond_the_accept_rate_wait_and_are_served() {
    let yaml = format!(
        "listeners:\n{}",
        echo("in", ", accept_rate: {per_second: 20, burst: 2}")
    );
    let plane = Plane::start(2, &yaml);
    let began = Instant::now();
    let mut clients: Vec<_> = (0..8).map(|_| connect(plane.address("in"))).collect();
    for client in &mut clients {
        assert!(is_served(client, PATIENCE));
    }
    // Two at once, then one every 50 ms.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(290), "{took:?}");
    let pauses = [("listener", "in"), ("reason", "rate")];
    assert!(plane.metric("transom_accept_pauses_total", &pauses) > 0);
    assert_eq!(plane.metric("transom_connections_refused_total", &[]), 0);
}

/// What a reload leaves as it is goes on being counted.
#[test]
fn the_accept_rate_holds_through_reloads() {
    let yaml = |more: &str| {
        format!(
            "listeners:\n{}{more}",
            echo("in", ", accept_rate: {per_second: 1, burst: 1}")
        )
    };
    let plane = Plane::start(1, &yaml(""));
    // One, and what comes due while the clock ticks.
    assert!(is_served(&mut connect(plane.address("in")), PATIENCE));
    plane.apply(&yaml(&echo("other", ""))).unwrap();
    let mut next = connect(plane.address("in"));
    assert!(!is_served(&mut next, Duration::from_millis(100)));
    // A listener that goes serves what waits.
    plane
        .apply(&format!("listeners:\n{}", echo("other", "")))
        .unwrap();
    assert!(is_served(&mut next, PATIENCE));
}

#[test]
fn connections_beyond_those_of_the_process_wait_and_other_listeners_still_have_theirs() {
    let yaml = |most: u32| {
        format!(
            "limits: {{max_connections: {most}}}\nlisteners:\n{}{}",
            echo("greedy", ""),
            echo("modest", "")
        )
    };
    let plane = Plane::start(2, &yaml(6));
    let mut greedy: Vec<_> = (0..5).map(|_| connect(plane.address("greedy"))).collect();
    for client in &mut greedy {
        assert!(is_served(client, PATIENCE));
    }
    let mut waiting = connect(plane.address("greedy"));
    assert!(!is_served(&mut waiting, Duration::from_millis(100)));
    let mut modest = connect(plane.address("modest"));
    assert!(is_served(&mut modest, PATIENCE));
    // The next one of both listeners waits, until somebody goes.
    let mut second = connect(plane.address("modest"));
    assert!(!is_served(&mut second, Duration::from_millis(100)));
    drop(greedy);
    for stream in [&mut waiting, &mut second] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(stream.read(&mut [0; 8]).unwrap() > 0);
    }
    for name in ["greedy", "modest"] {
        let labels = [("listener", name), ("reason", "connections")];
        assert!(
            plane.metric("transom_accept_pauses_total", &labels) > 0,
            "{name}"
        );
    }
    assert_eq!(plane.metric("transom_connections_refused_total", &[]), 0);
    // More are let in as soon as a reload allows it.
    let mut held: Vec<_> = (0..3).map(|_| connect(plane.address("greedy"))).collect();
    for client in &mut held {
        assert!(is_served(client, PATIENCE));
    }
    let mut last = connect(plane.address("greedy"));
    assert!(!is_served(&mut last, Duration::from_millis(100)));
    plane.apply(&yaml(60)).unwrap();
    assert!(is_served(&mut last, PATIENCE));
    drop(held);
}

/// The descriptors that the process may open say how many connections there may be.
#[test]
fn without_a_limit_the_process_still_has_one() {
    let plane = Plane::start(1, &format!("listeners:\n{}", echo("in", "")));
    let limit = plane.metric("transom_connections_limit", &[]);
    let (soft, _) = descriptors();
    assert_eq!(
        limit,
        i64::from(u32::try_from(((soft - 128) / 2).max(64)).unwrap())
    );
    plane
        .apply(&format!(
            "limits: {{max_connections: 7}}\nlisteners:\n{}",
            echo("in", "")
        ))
        .unwrap();
    assert_eq!(plane.metric("transom_connections_limit", &[]), 7);
}

/// The process's limit of open files (proc(5)).
fn descriptors() -> (u64, u64) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}
