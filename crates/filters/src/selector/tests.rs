//! All selectors over hosts that a test sets up.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use transom_api::testing::FakeWorker;
use transom_api::{Node, Registry, Selector, SelectorHost, SelectorTable, SelectorView, Selectors};

struct Hosts {
    gone: RefCell<Vec<usize>>,
    active: RefCell<Vec<u32>>,
    random: Cell<u64>,
}

impl Hosts {
    fn new(count: usize) -> Self {
        Self {
            gone: RefCell::default(),
            active: RefCell::new(vec![0; count]),
            random: Cell::new(1),
        }
    }

    fn count(&self, selector: &dyn Selector, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; self.active.borrow().len()];
        for _ in 0..picks {
            counts[selector.select(self).unwrap()] += 1;
        }
        counts
    }
}

impl SelectorView for Hosts {
    fn is_available(&self, host: usize) -> bool {
        !self.gone.borrow().contains(&host)
    }

    fn active(&self, host: usize) -> u32 {
        self.active.borrow()[host]
    }

    /// SplitMix64, from a seed that is the same in every run.
    fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(state);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

fn table(name: &str, config: &Node, weights: &[u32]) -> Arc<dyn SelectorTable> {
    let mut registry = Registry::new();
    super::register(&mut registry).unwrap();
    let factory = registry.find::<Selectors>(name).unwrap();
    let (config, _) = FakeWorker::new().prepare(&*factory, config).unwrap();
    let hosts: Vec<SelectorHost<'_>> = weights
        .iter()
        .map(|weight| SelectorHost {
            address: "127.0.0.1:1",
            weight: *weight,
        })
        .collect();
    config.table(&hosts)
}

fn selector(name: &str, weights: &[u32]) -> Box<dyn Selector> {
    table(name, &Node::null(), weights).on_worker(0)
}

const ALL: [&str; 3] = ["least_request", "random", "round_robin"];

#[test]
fn shares_follow_the_weights() {
    for name in ALL {
        let hosts = Hosts::new(3);
        let counts = hosts.count(&*selector(name, &[1, 2, 5]), 80_000);
        for (count, expected) in counts.iter().zip([10_000_usize, 20_000, 50_000]) {
            // Of idle hosts `least_request` prefers the heavier of its draws.
            let tolerance = if name == "least_request" { 20_000 } else { 700 };
            assert!(count.abs_diff(expected) < tolerance, "{name}: {counts:?}");
        }
    }
}

#[test]
fn hosts_that_are_not_available_are_passed_over_and_the_shares_of_the_others_hold() {
    for name in ["random", "round_robin"] {
        let hosts = Hosts::new(5);
        hosts.gone.replace(vec![0, 1, 4]);
        let counts = hosts.count(&*selector(name, &[100, 100, 1, 3, 100]), 40_000);
        assert_eq!([counts[0], counts[1], counts[4]], [0, 0, 0], "{name}");
        assert!(counts[2].abs_diff(10_000) < 500, "{name}: {counts:?}");
    }
    let hosts = Hosts::new(5);
    hosts.gone.replace(vec![0, 1, 2, 4]);
    let counts = hosts.count(&*selector("least_request", &[1; 5]), 10);
    assert_eq!(counts, [0, 0, 0, 10, 0]);
}

#[test]
fn nothing_is_chosen_of_nothing() {
    for name in ALL {
        assert_eq!(selector(name, &[]).select(&Hosts::new(0)), None, "{name}");
        let hosts = Hosts::new(2);
        hosts.gone.replace(vec![0, 1]);
        assert_eq!(selector(name, &[1, 1]).select(&hosts), None, "{name}");
    }
}

#[test]
fn round_robin_goes_on_where_its_predecessor_stood() {
    let hosts = Hosts::new(3);
    let before = selector("round_robin", &[1, 1, 1]);
    assert_eq!(before.select(&hosts), Some(0));
    let after = table("round_robin", &Node::null(), &[1, 1, 1]).on_worker(before.position());
    assert_eq!(after.select(&hosts), Some(1));
}

#[test]
fn least_request_prefers_hosts_with_less_to_do() {
    let hosts = Hosts::new(2);
    let selector = selector("least_request", &[1, 1]);
    hosts.active.replace(vec![10, 0]);
    // The busy one is chosen when it is drawn twice: a quarter of the time.
    let counts = hosts.count(&*selector, 10_000);
    assert!(counts[0].abs_diff(2_500) < 250, "{counts:?}");
}

#[test]
fn least_request_compares_by_weight() {
    let hosts = Hosts::new(2);
    let selector = selector("least_request", &[1, 4]);
    // A fourth of the weight with a third of the requests has more to do.
    hosts.active.replace(vec![3, 10]);
    let counts = hosts.count(&*selector, 10_000);
    assert!(counts[0] < 600, "{counts:?}");
}

#[test]
fn active_requests_stay_even_when_hosts_are_of_different_speed() {
    let hosts = Hosts::new(10);
    let selector = selector("least_request", &[1; 10]);
    for _ in 0..1_000 {
        let host = selector.select(&hosts).unwrap();
        hosts.active.borrow_mut()[host] += 1;
    }
    let active = hosts.active.borrow();
    let (least, most) = (active.iter().min().unwrap(), active.iter().max().unwrap());
    assert!(most - least <= 8, "{active:?}");
}

#[test]
fn what_is_no_configuration_is_refused() {
    let mut registry = Registry::new();
    super::register(&mut registry).unwrap();
    let choices = Node::map([("choices", 1.into())]);
    let factory = registry.find::<Selectors>("least_request").unwrap();
    assert!(factory.parse(&choices).is_err());
    let factory = registry.find::<Selectors>("random").unwrap();
    assert!(factory.parse(&choices).is_err());
}
