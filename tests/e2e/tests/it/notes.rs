//! What filters leave for each other, for the access log, for other workers and for whoever reads metrics.

use std::collections::BTreeSet;

use transom_e2e::{Setup, Upstream};

#[test]
fn filter_state_connection_state_and_metadata_are_seen_by_later_filters_and_the_log() {
    let upstream =
        Upstream::answering(|request| transom_e2e::upstream::ok(&request.headers("x-found")));
    let plane = Setup::to(&upstream)
        .filter("{name: leave, config: {}}")
        .filter("{name: find, config: {}}")
        .access_log("{name: record}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "7 1 leave false");
    // The connection's state goes on, the stream's begins anew.
    assert_eq!(client.get("/").text(), "7 2 leave false");
    assert_eq!(plane.get("/").text(), "7 1 leave false");
    let line = plane.lab.wait_for_prefix("log");
    assert_eq!(line, "log GET / 200 - via_upstream up - 0 15 yes -");
}

#[test]
fn shared_data_is_counted_up_by_all_workers_without_a_loss() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .workers(3)
        .filter("{name: shared_count, config: {}}")
        .start();
    let address = plane.address("in");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = transom_e2e::Client::connect(address);
                let counts = (0..25).map(|_| {
                    let answer = client.get("/");
                    answer.header("x-count").unwrap().parse::<u64>().unwrap()
                });
                counts.collect::<Vec<_>>()
            })
        })
        .collect();
    let counts: Vec<u64> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let counts: BTreeSet<u64> = counts.into_iter().collect();
    assert_eq!(counts, (1..=200).collect());
}

#[test]
fn metrics_of_a_filter_survive_a_reload() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream)
        .workers(2)
        .filter("{name: measure, config: {}}");
    let plane = setup.start();
    for _ in 0..3 {
        assert_eq!(plane.get("/").status(), 200);
    }
    // Defined anew: `on_failure` is no reason to prepare again, another instance is.
    plane
        .apply(
            &setup
                .filter("{name: measure, id: second, config: {}}")
                .yaml(),
        )
        .unwrap();
    assert_eq!(plane.get("/").status(), 200);
    let of = |instance| {
        [
            plane.metric("transom_test_requests_total", &[("instance", instance)]),
            plane.metric("transom_test_wait_seconds", &[("instance", instance)]),
            plane.metric("transom_test_path_bytes", &[("instance", instance)]),
        ]
    };
    assert_eq!(of("measure"), [8, 4, 4]);
    assert_eq!(of("second"), [2, 1, 1]);
    transom_e2e::eventually("idle gauges", || {
        (plane.metric("transom_test_active", &[]) == 0).then_some(())
    });
}
